"""Where things are on the bus: every subject, stream and bucket name is made here."""

from __future__ import annotations

import hashlib
import re

from services.messages import Source

TARGETS = "TARGETS"
COVERAGE = "COVERAGE"
RAW = "RAW"
FRAMES = "FRAMES"
WITNESSES = "WITNESSES"
FINDINGS = "FINDINGS"
BUCKET = "plainwire"
OWNERS = "plainwire_owners"
STATE = "plainwire_state"

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_TOKEN = 80


def token(name: str) -> str:
    """A legal, readable subject token. Names that had to be changed end in a hash of the original,
    so that two names never become one token."""
    if name and len(name) <= _MAX_TOKEN and not _ILLEGAL.search(name):
        return name
    digest = hashlib.blake2s(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    readable = _ILLEGAL.sub("_", name)[: _MAX_TOKEN - 9]
    return f"{readable or '_'}-{digest}"


def targets(node: str) -> str:
    return f"plainwire.targets.{token(node)}"


def coverage(node: str) -> str:
    return f"plainwire.coverage.{token(node)}"


def sightings(node: str) -> str:
    return f"plainwire.sightings.{token(node)}"


def raw(shard: int, node: str) -> str:
    return f"plainwire.raw.{shard}.{token(node)}"


def raw_of_shard(shard: int) -> str:
    return f"plainwire.raw.{shard}.>"


def frames(shard: int) -> str:
    return f"plainwire.frames.{shard}"


def alive(service: str, replica: str) -> str:
    """Where a replica answers for as long as its connection lives."""
    return f"plainwire.alive.{service}.{replica}"


def micro(service: str) -> str:
    """The name of a service on the bus, and of its connection."""
    return f"plainwire-{service}"


def endpoint(service: str, name: str, node: str) -> str:
    """Where the service of a node answers."""
    return f"plainwire.{service}.{name}.{token(node)}"


def everything(kind: str) -> str:
    """All of one kind: raw, frames, coverage, stored witnesses (`store.witnesses`) …"""
    return f"plainwire.{kind}.>"


def stored_witness(source: Source) -> str:
    return f"plainwire.store.witnesses.{token(source.namespace)}.{token(source.workload)}"


def witnesses(namespace: str = "*", workload: str = "*") -> str:
    """The live tap: what the stream republishes once it is stored."""
    return ".".join(
        ("plainwire.witnesses", *(n if n == "*" else token(n) for n in (namespace, workload)))
    )
