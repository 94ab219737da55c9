"""Which servers keep, as a cluster, what they have acknowledged. Knows versions, and no server.

With nats-server 2.9 each replica finds duplicates by itself, and one that came back empty knows no
ids of what was purged: it stores a second copy that the others refuse, and its sequences differ
from theirs from then on. Up to 2.11 it also votes for a replica that lags.
"""

from __future__ import annotations

KEEPS_SINCE = (2, 12)


def unsafe(version: tuple[int, ...], replicas: int) -> str:
    """Why a cluster of such servers may lose what it has acknowledged; else empty."""
    if replicas < 2 or version >= KEEPS_SINCE:
        return ""
    told, since = (".".join(map(str, numbers)) for numbers in (version, KEEPS_SINCE))
    return (
        f"a cluster of nats-server {told} may lose what it has acknowledged once one of its "
        f"servers was restarted: nats_replicas > 1 needs {since} or newer"
    )
