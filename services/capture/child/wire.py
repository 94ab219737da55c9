"""Which processes are proven to speak TLS outside of the calls that are probed. Pure.

Knows what the kernel told of single calls and what their descriptors are; not which code it was.
Bytes alone may look like a record by chance: a handshake's greeting is proof, else two records are.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from services.capture import layout
from services.capture.channel import OnWire

MAX_PROCESSES = 4096
APART = 1.0  # seconds between two records that no captured call explains
QUIET = 8  # windows for which nothing more is to be told of a process
_APPLICATION_DATA = 0x17
_TCP = ("TCP", "TCPv6", "MPTCP", "MPTCPv6")
_UDP = ("UDP", "UDPv6")


class Heard(NamedTuple):
    """A call that sent or received what begins as a record."""

    pid: int
    descriptor: int
    flags: int
    type: int
    window: int
    process: str


class Owner(NamedTuple):
    start_boot_ns: int
    process: str
    executable: str


def heard(event: bytes) -> Heard:
    pid, descriptor, flags, kind, _, window, name = layout.WIRE_EVENT.unpack(event)
    process = name.partition(b"\0")[0].decode(errors="replace")
    return Heard(pid, descriptor, flags, kind, window, process)


@dataclass(slots=True)
class _Process:
    start_boot_ns: int
    records: int = 0
    quic: bool = False
    used: bool = False
    unexplained: float = 0.0  # when the first record came that no captured call explains
    told: OnWire | None = None


class Wire:
    def __init__(self) -> None:
        self._processes: OrderedDict[int, _Process] = OrderedDict()
        self.evicted = 0
        self.unconfirmed = 0  # records on descriptors that were gone before anybody looked

    def receive(self, call: Heard, protocol: str, owner: Owner | None, now: float) -> OnWire | None:
        """News of the call's process, if it is any. `protocol` is the descriptor's: empty where it
        can't be told any more, `-` where it is no socket."""
        if not self._is_net(call, protocol):
            return None
        known = self._known(call.pid, owner)
        self._note(known, call, now)
        if not known.quic and known.records < 2:
            return None
        found = OnWire(
            pid=call.pid,
            start_boot_ns=known.start_boot_ns,
            process=owner.process if owner else call.process,
            executable=owner.executable if owner else "",
            tcp=known.records > 1,
            quic=known.quic,
            used=known.used,
            unused=self._is_unused(known, now),
        )
        if known.told is not None and _claim(known.told) == _claim(found):
            return None
        known.told = found
        return found

    def is_settled(self, pid: int, *, excluded: bool) -> bool:
        """Nothing is to be learnt of it soon; of one that is excluded, which library it uses."""
        known = self._processes.get(pid)
        if known is None or known.told is None:
            return False
        return excluded or known.used or known.told.unused

    def _is_net(self, call: Heard, protocol: str) -> bool:
        wanted = _UDP if call.flags & layout.WIRE_QUIC else _TCP
        if protocol:
            return protocol in wanted
        if call.flags & layout.WIRE_SOCKET:
            return True
        self.unconfirmed += 1
        return False

    def _known(self, pid: int, owner: Owner | None) -> _Process:
        known = self._processes.get(pid)
        if known is None or (owner and owner.start_boot_ns != known.start_boot_ns):
            known = self._processes[pid] = _Process(owner.start_boot_ns if owner else 0)
        self._processes.move_to_end(pid)
        if len(self._processes) > MAX_PROCESSES:
            self._processes.popitem(last=False)
            self.evicted += 1
        return known

    def _note(self, known: _Process, call: Heard, now: float) -> None:
        if call.flags & layout.WIRE_QUIC:
            known.quic = True
        else:
            known.records += 2 if call.flags & layout.WIRE_HELLO else 1
        known.used |= bool(call.flags & layout.WIRE_USED)
        if call.type == _APPLICATION_DATA and not known.unexplained:
            known.unexplained = now

    def _is_unused(self, known: _Process, now: float) -> bool:
        """Application data for so long, and nothing of a probed library was ever used: what the
        process has of such libraries is not what speaks."""
        if known.used or not known.unexplained:
            return False
        return now - known.unexplained >= APART


def _claim(found: OnWire) -> tuple[int, bool, bool, bool, bool]:
    return found.start_boot_ns, found.tcp, found.quic, found.used, found.unused
