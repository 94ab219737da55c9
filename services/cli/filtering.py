"""Which witnesses a tap wants. Pure."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from services.cli.errors import Failure
from services.messages import Witness

_witness = msgspec.json.Decoder(Witness)
_STATUS_CLASSES = frozenset(f"{n}xx" for n in range(1, 6))


@dataclass(frozen=True)
class Filter:
    """None accepts anything; host and path take * and ?; status is `404` or `5xx`."""

    namespace: str | None = None
    workload: str | None = None
    pod: str | None = None
    host: str | None = None
    path: str | None = None
    status: str | None = None

    @staticmethod
    def of(given: Namespace) -> Filter:
        status = given.status.lower() if given.status else None
        if status and not (status in _STATUS_CLASSES or (status.isdecimal() and len(status) == 3)):
            raise Failure(f"--status {status}: a status is three digits, or 5xx", status=2)
        return Filter(given.namespace, given.workload, given.pod, given.host, given.path, status)

    @property
    def restricts(self) -> bool:
        return any(getattr(self, name) is not None for name in self.__dataclass_fields__)

    def accepts(self, payload: bytes) -> bool:
        """What can't be read is accepted: the tap says that it can't."""
        if not self.restricts:
            return True
        try:
            return self._accepts(_witness.decode(payload))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return True

    def _accepts(self, witness: Witness) -> bool:
        source, request = witness.source, witness.request
        host = (request.authority if request else None) or ""
        path = ((request.path if request else None) or "").partition("?")[0]
        return (
            _is(self.namespace, source.namespace)
            and _is(self.workload, source.workload)
            and _is(self.pod, source.pod)
            and (_like(self.host, host) or _like(self.host, host.rpartition(":")[0]))
            and _like(self.path, path)
            and self._status_fits(witness.response.status if witness.response else None)
        )

    def _status_fits(self, status: int | None) -> bool:
        if self.status is None:
            return True
        text = str(status)
        return text[:1] + "xx" == self.status if "x" in self.status else text == self.status


def _is(wanted: str | None, found: str) -> bool:
    return wanted is None or wanted == found


def _like(pattern: str | None, found: str) -> bool:
    return pattern is None or fnmatchcase(found.lower(), pattern.lower())
