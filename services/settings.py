"""Typed settings from `PLAINWIRE_*` variables and a TOML file; the variable wins.

A shared key is `PLAINWIRE_<KEY>` or a top-level TOML key; a service's own is
`PLAINWIRE_<SERVICE>_<KEY>` or a key of the table `[<service>]`. A key that nobody knows is refused
by name, so that a typo is never silently the default.
"""

from __future__ import annotations

import re
import socket
import tomllib
import types
import typing
from collections.abc import Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import TypeVar

import msgspec

PREFIX = "PLAINWIRE_"

# What is ours but not a service's setting: where the file is, and the command's own switches.
_COMMAND_KEYS = frozenset({"PLAINWIRE_CONFIG", "PLAINWIRE_DEBUG", "PLAINWIRE_CONTEXT"})
# Variables that Kubernetes injects for a Service called plainwire-…: host, port, and docker links.
_INJECTED = re.compile(
    r"PLAINWIRE_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)"
    r"(?:_PROTO|_PORT|_ADDR)?)?)"
)
_LINK = re.compile(r"(?:tcp|udp|sctp)://")


class SettingsError(ValueError):
    """One line: the key, what is wrong with it, the mend."""


def _hostname() -> str:
    return socket.gethostname()


class SharedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every service takes."""

    node: str = msgspec.field(default_factory=_hostname)
    nats_url: str = "nats://127.0.0.1:4222"
    nats_token_file: str = ""  # a file that holds the server's token
    nats_allow_plaintext: bool = False  # a URL that is neither loopback nor TLS needs this
    nats_store_in_memory: bool = False  # the server's store directory is no disk (a tmpfs)
    nats_replicas: typing.Annotated[int, msgspec.Meta(ge=1, le=5)] = 1
    """Of each stream: 3 on a cluster of three servers."""
    shards: typing.Annotated[int, msgspec.Meta(ge=1, le=1024)] = 16
    health: str = ""  # host:port of /livez, /readyz and /metrics; empty: none

    def __post_init__(self) -> None:
        """Here, and not first where it is listened on, which is after NATS has answered."""
        _, colon, port = self.health.rpartition(":")
        if self.health and not (colon and port.isdecimal() and int(port) <= 65535):
            raise ValueError(f"PLAINWIRE_HEALTH is no host:port: {self.health}")


S = TypeVar("S", bound=SharedSettings)


def load(
    kind: type[S],
    section: str,
    environ: Mapping[str, str],
    path: str | None,
    known: Mapping[str, type[SharedSettings]],
) -> S:
    """The settings of one service. Keys of the services in `known` are checked by name only."""
    values = _from_file(path, section, known) if path else {}
    values |= _from_environment(kind, section, environ, known)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings of {section}: {error}") from None


def _own(kind: type[SharedSettings]) -> set[str]:
    return set(kind.__struct_fields__) - _shared()


def _shared() -> set[str]:
    return set(SharedSettings.__struct_fields__)


def _from_file(
    path: str, section: str, known: Mapping[str, type[SharedSettings]]
) -> dict[str, object]:
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from None
    values: dict[str, object] = {}
    for key, value in document.items():
        if key in known and isinstance(value, dict):
            _refuse_unknown(value, _own(known[key]), f"settings file {path}, table [{key}]")
            values |= value if key == section else {}
        elif key in _shared():
            values[key] = value
        else:
            choices = _shared() | known.keys()
            raise _unknown(key, choices, f"settings file {path}")
    return values


def _refuse_unknown(table: Mapping[str, object], fields: set[str], where: str) -> None:
    for key in table:
        if key not in fields:
            raise _unknown(key, fields, where)


def _unknown(key: str, choices: set[str], where: str) -> SettingsError:
    near = [c for c in get_close_matches(key, choices, 3, cutoff=0.75) if _alike(key, c)]
    mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(choices))}"
    return SettingsError(f"{where}: unknown setting {key}; {mend}")


def _alike(key: str, choice: str) -> bool:
    """Without the words that both begin with: PLAINWIRE_CAPTURE_ makes nothing alike."""
    theirs, ours = key.split("_"), choice.split("_")
    while theirs and ours and theirs[0] == ours[0]:
        del theirs[0], ours[0]
    shorter = not (theirs and ours)
    return shorter or SequenceMatcher(None, "_".join(theirs), "_".join(ours)).ratio() >= 0.6


def _from_environment(
    kind: type[SharedSettings],
    section: str,
    environ: Mapping[str, str],
    known: Mapping[str, type[SharedSettings]],
) -> dict[str, object]:
    names = {f"{PREFIX}{f.upper()}": ("", f) for f in _shared()}
    for service, settings in known.items():
        names |= {f"{PREFIX}{service.upper()}_{f.upper()}": (service, f) for f in _own(settings)}
    values: dict[str, object] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in _COMMAND_KEYS:
            continue
        if name not in names:
            if _is_injected(name, text):
                continue
            raise _unknown(name, set(names), "environment")
        service, key = names[name]
        if service in ("", section):
            values[key] = _parse(kind, key, text)
    return values


def _is_injected(name: str, text: str) -> bool:
    return bool(_LINK.match(text) or _INJECTED.fullmatch(name))


def _parse(kind: type[SharedSettings], key: str, text: str) -> object:
    """A list setting is written with commas; msgspec's lax conversion does the rest."""
    hint = typing.get_type_hints(kind)[key]
    if typing.get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if hint is bool or (isinstance(hint, types.UnionType) and bool in typing.get_args(hint)):
        return text.strip().lower()
    return text
