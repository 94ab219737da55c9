"""/livez, /readyz and /metrics over plain HTTP, for kubelet and Prometheus.

Live: the event loop answers. Ready: every named check gives None instead of a reason. Metrics are
read from plain counters when somebody asks. Knows neither what is checked nor what is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

Check = Callable[[], str | None]
Counters = Callable[[], Mapping[str, int]]

READ_FOR = 5.0  # seconds that a client has for its request
MAX_REQUEST = 8 * 1024


@dataclass
class Health:
    """`namespace` begins every metric's name: plainwire_parse."""

    namespace: str
    checks: dict[str, Check] = field(default_factory=dict)
    counters: Counters = dict

    def check(self, name: str, check: Check) -> None:
        """`check` returns None when all is well, else why not, in a few words."""
        self.checks[name] = check

    def problems(self) -> list[str]:
        found = ((name, check()) for name, check in self.checks.items())
        return [f"{name}: {reason}" for name, reason in found if reason is not None]

    def metrics(self) -> bytes:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import GaugeMetricFamily, Metric, UntypedMetricFamily

        health, counters = self, self.counters

        class Collector:
            def collect(self) -> Iterable[Metric]:
                ready = GaugeMetricFamily(f"{health.namespace}_ready", "1 if every check passes")
                ready.add_metric([], float(not health.problems()))
                yield ready
                for name, value in sorted(counters().items()):
                    # A label may follow the name in brackets: gaps_bytes{reason=ring_full}
                    base, labels = _labels(name)
                    metric = UntypedMetricFamily(
                        f"{health.namespace}_{base}", base.replace("_", " "), labels=list(labels)
                    )
                    metric.add_metric(list(labels.values()), value)
                    yield metric

        registry = CollectorRegistry()
        registry.register(Collector())
        return generate_latest(registry)

    def respond(self, path: str) -> tuple[int, str, bytes]:
        """Status, media type and content for a GET of `path`."""
        if path == "/livez":
            return 200, "text/plain", b"ok\n"
        if path == "/readyz":
            problems = self.problems()
            text = "\n".join(problems) or "ok"
            return (503 if problems else 200), "text/plain", f"{text}\n".encode()
        if path == "/metrics":
            return 200, "text/plain; version=0.0.4; charset=utf-8", self.metrics()
        return 404, "text/plain", b"not here; try /livez, /readyz or /metrics\n"


def _labels(name: str) -> tuple[str, dict[str, str]]:
    base, found, rest = name.partition("{")
    if not found:
        return base, {}
    pairs = (pair.partition("=") for pair in rest.rstrip("}").split(","))
    return base, {key: value for key, _, value in pairs}


async def serve(health: Health, address: str) -> asyncio.Server:
    """Listens on `host:port`. Raises OSError (port taken) and ValueError (no address)."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise ValueError(f"PLAINWIRE_HEALTH is no host:port: {address}")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_FOR):
                await _answer(health, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that went away, or sends no request
        finally:
            writer.close()

    return await asyncio.start_server(answer, host.strip("[]"), int(port), limit=MAX_REQUEST)


_PHRASES = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


async def _answer(
    health: Health, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    if method in (b"GET", b"HEAD"):
        status, media_type, content = health.respond(path)
    else:
        status, media_type, content = 405, "text/plain", b"GET only\n"
    writer.write(
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: {media_type}\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
    )
    writer.write(content if method != b"HEAD" else b"")
    await writer.drain()
