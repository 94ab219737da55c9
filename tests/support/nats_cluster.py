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
READY_SECONDS = 30


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

    def leader_of(self, stream: str) -> int | None:
        """Which server leads a stream now."""
        for server in range(SIZE):
            name = self._leader_as_told_by(server, stream)
            if name:
                return int(name.removeprefix("server"))
        return None

    def wait_ready(self) -> None:
        """Until all three are there and know their leader, and every stream is whole."""
        deadline = time.monotonic() + READY_SECONDS
        while not all(self._is_ready(server) for server in range(SIZE)):
            if time.monotonic() > deadline:
                raise TimeoutError("the cluster does not become ready")
            time.sleep(0.1)

    def _is_ready(self, server: int) -> bool:
        told = self._ask(server, "jsz?streams=true&accounts=true")
        meta = told.get("meta_cluster") or {}
        others = meta.get("replicas") or []
        if not meta.get("leader"):
            return False
        if meta["leader"] == f"server{server}" and (
            len(others) < SIZE - 1 or not all(r.get("current") for r in others)
        ):
            return False
        return all(
            replica.get("current")
            for stream in _streams(told)
            if (stream.get("cluster") or {}).get("leader") == f"server{server}"
            for replica in stream["cluster"].get("replicas") or []
        )

    def _leader_as_told_by(self, server: int, stream: str) -> str:
        for found in _streams(self._ask(server, "jsz?streams=true&accounts=true")):
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
