"""Three nats-servers as one cluster on loopback, for streams with three replicas. Servers are local
processes, killed and started one by one; each keeps its port and its store."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

from tests.support.nats_server import LocalProcess

SIZE = 3
READY_SECONDS = 60
_STREAMS = "jsz?streams=true&accounts=true"


class NatsCluster(AbstractContextManager["NatsCluster"]):
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ports = _free_ports(3 * SIZE)
        self._clients, self._routes, self._monitors = ports[:3], ports[3:6], ports[6:]
        self._engines = [LocalProcess() for _ in range(SIZE)]

    @property
    def urls(self) -> list[str]:
        return [f"nats://127.0.0.1:{port}" for port in self._clients]

    @property
    def url(self) -> str:
        return ",".join(self.urls)

    def start(self, server: int) -> None:
        store = self._folder / f"server{server}"
        store.mkdir(exist_ok=True)
        configuration = store / "nats.conf"
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes)
        configuration.write_text(
            f"""listen: "127.0.0.1:{self._clients[server]}"
http: "127.0.0.1:{self._monitors[server]}"
server_name: "server{server}"
jetstream {{ store_dir: "{store}/js", max_memory_store: 2GB, max_file_store: 1GB }}
cluster {{ name: "test", listen: "127.0.0.1:{self._routes[server]}", routes: [{routes}] }}
"""
        )
        self._engines[server].start(["-c", str(configuration)], store)

    def kill(self, server: int) -> None:
        self._engines[server].kill()

    def leader_of(self, stream: str) -> int:
        """Which server leads a stream now."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            for server in range(SIZE):
                name = self._leader_as_told_by(server, stream)
                if name:
                    return int(name.removeprefix("server"))
            time.sleep(0.1)
        raise TimeoutError(f"nobody leads {stream}: {self._told()}")

    def ends_of(self, stream: str) -> list[int]:
        """Its last sequence, by each server's own word."""
        return [end for told in self._told() for name, end, _ in told if name == stream]

    def wait_ready(self) -> None:
        """Until each of the three holds all that there is. A server that was killed has forgotten
        what it held in memory and comes back empty: while it fills up again only two copies are
        left, and a second kill is one failure more than three replicas are made for."""
        deadline = time.monotonic() + READY_SECONDS
        ends: dict[str, int] | None = None
        while ends is None or not self._have_reached(ends):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster does not become ready: {self._told()}")
            time.sleep(0.1)
            ends = self._ends() if ends is None else ends

    def _ends(self) -> dict[str, int] | None:
        """Where each stream ends, by its leader's word; None while one has no leader, or a leader
        misses a follower."""
        found: dict[str, int] = {}
        named: set[str] = set()
        for server in range(SIZE):
            told = self._ask(server, _STREAMS)
            if not _is_whole(told.get("meta_cluster") or {}, f"server{server}"):
                return None
            for stream in _streams(told):
                named.add(stream["name"])
                if (stream.get("cluster") or {}).get("leader") == f"server{server}":
                    found[stream["name"]] = stream["state"]["last_seq"]
        return found if found.keys() == named else None

    def _have_reached(self, ends: dict[str, int]) -> bool:
        """Every server, by its own word and by the leaders'."""
        for server in range(SIZE):
            streams = {stream["name"]: stream for stream in _streams(self._ask(server, _STREAMS))}
            if not streams.keys() >= ends.keys():
                return False
            if any(streams[name]["state"]["last_seq"] < end for name, end in ends.items()):
                return False
            groups = [stream.get("cluster") or {} for stream in streams.values()]
            if not all(_is_whole(group, f"server{server}") for group in groups):
                return False
        return True

    def _told(self) -> list[list[tuple]]:
        return [
            [
                (stream["name"], stream["state"]["last_seq"], stream.get("cluster"))
                for stream in _streams(self._ask(server, _STREAMS))
            ]
            for server in range(SIZE)
        ]

    def _leader_as_told_by(self, server: int, stream: str) -> str:
        for found in _streams(self._ask(server, _STREAMS)):
            if found.get("name") == stream:
                return str((found.get("cluster") or {}).get("leader") or "")
        return ""

    def _ask(self, server: int, path: str) -> dict:
        url = f"http://127.0.0.1:{self._monitors[server]}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return {}

    def __enter__(self) -> NatsCluster:
        for server in range(SIZE):
            self.start(server)
        self.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            engine.kill()


def _is_whole(group: dict, name: str) -> bool:
    """There is a leader; and where it is this one, its followers have all that it has."""
    followers = group.get("replicas") or []
    if group.get("leader") != name:
        return bool(group.get("leader"))
    return len(followers) == SIZE - 1 and all(
        f.get("current") and not f.get("offline") and not f.get("lag") for f in followers
    )


def _streams(told: dict) -> list[dict]:
    accounts = told.get("account_details") or []
    return [stream for account in accounts for stream in account.get("stream_detail") or []]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


KILLS = 20 if os.environ.get("PLAINWIRE_SOAK") else 2
