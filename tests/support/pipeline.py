"""The four services as four processes on a nats-server of their own, for tests that start, kill and
question each of them. What `plainwire up` does for people, without its conveniences.

Only this test process and its descendants are captured. Knows services by their NATS endpoints.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from services import subjects
from services.messages import Coverage, Position, ServiceLedger, Witness
from tests.support import feeding
from tests.support.nats_server import LocalProcess, NatsServer
from tests.support.workload import ROOT

SERVICES = ("discovery", "capture", "parse", "collect")
NODE = "test-node"
READY_SECONDS = 90  # bcc compiles meanwhile, on a machine that may be busy
SETTLE_SECONDS = 30
STOP_SECONDS = 6

# Tracepoints need tracefs, which is not mounted everywhere; a mount of our own leaves no trace.
_MOUNT = "[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing"
_WITH_TRACEFS = [
    *("unshare", "--mount", "--propagation", "slave"),
    *("sh", "-c", f'{_MOUNT}; exec "$@"', "sh"),
]

T = TypeVar("T")


class Stored(NamedTuple):
    """A witness as the stream holds it."""

    witness: Witness
    subject: str
    headers: Mapping[str, str]


class Pipeline:
    def __init__(self, folder: Path, server: NatsServer, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self.url = server.url
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PLAINWIRE_")},
            "PLAINWIRE_NATS_URL": server.url,
            "PLAINWIRE_NODE": NODE,
            "PLAINWIRE_CAPTURE_PIDS": str(os.getpid()),
            **settings,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started: set[str] = set()

    # --- life ---------------------------------------------------------------------------------

    def start(self, service: str, name: str = "", through: tuple[str, ...] = ()) -> None:
        """`through` is a command that takes another as its last arguments, `name` another
        replica's."""
        self.started.add(name or service)
        with self.log(service).open("ab") as log:
            self.processes[name or service] = subprocess.Popen(
                [*_WITH_TRACEFS, *through, sys.executable, "-m", "services.cli.main", service],
                cwd=ROOT,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def log(self, service: str) -> Path:
        return self._folder / f"{service}.log"

    def send(self, service: str, number: signal.Signals) -> None:
        self.processes[service].send_signal(number)

    def kill(self, service: str) -> None:
        process = self.processes.pop(service)
        process.kill()
        process.wait()

    def terminate(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(STOP_SECONDS)

    def stop(self) -> dict[str, float]:
        """Ends all of them as an operator would; the seconds that each took."""
        begin, took = time.monotonic(), {}
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for name, process in self.processes.items():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            took[name] = time.monotonic() - begin
        self.processes.clear()
        return took

    def logs(self) -> str:
        return "\n".join(
            f"--- {name}\n{self.log(name).read_text(errors='replace')}"
            for name in SERVICES
            if self.log(name).exists()
        )

    # --- questions ----------------------------------------------------------------------------

    def wait_attached(self, library: Path) -> None:
        """Until capture says that it probes this file."""
        inode = f"-{library.stat().st_ino:x}"

        async def attached(client: Client) -> bool:
            answer = msgspec.json.decode(await self._ask(client, "capture", "ready"))
            return any(key.endswith(inode) for key in answer["attached"])

        self._until(attached, READY_SECONDS, f"capture does not attach to {library}")

    def wait_answering(self, service: str) -> None:
        """Until the service answers on the bus."""

        async def answers(client: Client) -> bool:
            await self._ask(client, service, "ledger")
            return True

        self._until(answers, READY_SECONDS, f"{service} does not answer")

    def wait_position(self, service: str, counter: int) -> None:
        """Until the service has folded this node's batch with that counter."""

        async def reached(client: Client) -> bool:
            positions = (await self._ledger(client, service)).positions
            return any(p.node == NODE and p.counter >= counter for p in positions)

        self._until(reached, SETTLE_SECONDS, f"{service} does not reach batch {counter}")

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Until collect has folded everything that the kernel has seen up to now."""

        async def tick(client: Client) -> list[Position]:
            return msgspec.json.decode(
                await self._ask(client, "capture", "tick"), type=list[Position]
            )

        wanted = self._with_client(tick)

        async def reached(client: Client) -> bool:
            found = await feeding.ledgers(client, "collect")
            positions = [position for ledger in found for position in ledger.positions]
            at = {(p.node, p.shard): (p.epoch, p.counter) for p in positions}
            return all(at.get((p.node, p.shard), (0, 0)) >= (p.epoch, p.counter) for p in wanted)

        self._until(reached, seconds, f"collect does not reach {wanted}")

    def ledger(self, service: str) -> ServiceLedger:
        return self._with_client(lambda client: self._ledger(client, service))

    def ledgers(self, service: str) -> list[ServiceLedger]:
        """Every replica's."""
        return self._with_client(lambda client: feeding.ledgers(client, service))

    def ask(self, service: str, endpoint: str) -> bytes:
        return self._with_client(lambda client: self._ask(client, service, endpoint))

    def coverage(self) -> Coverage:
        async def last(client: Client) -> Coverage:
            found = await client.jetstream().get_last_msg(
                subjects.COVERAGE, subjects.coverage(NODE)
            )
            return msgspec.json.decode(found.data or b"", type=Coverage)

        return self._with_client(last)

    def witnesses(self, prefix: str = "") -> list[Stored]:
        """In stored order, those whose request's id begins with `prefix`."""
        found = self._with_client(_read_witnesses)
        return [s for s in found if request_id(s.witness).startswith(prefix)]

    def _with_client(self, question: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        async def ask() -> T:
            client = await nats.connect(self.url)
            try:
                return await question(client)
            finally:
                await client.close()

        return asyncio.run(ask())

    def _until(
        self, reached: Callable[[Client], Coroutine[Any, Any, bool]], seconds: float, why: str
    ) -> None:
        async def wait(client: Client) -> None:
            deadline = time.monotonic() + seconds
            while not await _answered(reached(client)):
                self._check_alive()
                if time.monotonic() > deadline:
                    raise AssertionError(f"{why}\n{self.logs()}")
                await asyncio.sleep(0.05)

        self._with_client(wait)

    def _check_alive(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}\n{self.logs()}")

    async def _ask(self, client: Client, service: str, endpoint: str) -> bytes:
        subject = f"plainwire.{service}.{endpoint}.{subjects.token(NODE)}"
        return (await client.request(subject, timeout=10)).data

    async def _ledger(self, client: Client, service: str) -> ServiceLedger:
        answer = await self._ask(client, service, "ledger")
        return msgspec.json.decode(answer, type=ServiceLedger)


async def _answered(question: Coroutine[Any, Any, bool]) -> bool:
    try:
        return await question
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError, NotFoundError):
        return False


async def _read_witnesses(client: Client) -> list[Stored]:
    js = client.jetstream()
    state = (await js.stream_info(subjects.WITNESSES)).state
    found = []
    for sequence in range(state.first_seq, state.last_seq + 1):
        message = await js.get_msg(subjects.WITNESSES, seq=sequence)
        witness = msgspec.json.decode(message.data or b"", type=Witness)
        found.append(Stored(witness, message.subject or "", message.headers or {}))
    return found


def request_id(witness: Witness) -> str:
    headers = witness.request.headers if witness.request else ()
    return next((value or "" for name, value in headers if name == "x-request-id"), "")


def system_libssl() -> Path:
    """The library that this interpreter's ssl module, and so every client here, is linked with."""
    import ssl  # noqa: F401  maps it

    maps = Path("/proc/self/maps").read_text()
    return Path(next(line.split()[-1] for line in maps.splitlines() if "/libssl" in line))


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Pipeline]:
    """All four, with probes attached. `settings` are PLAINWIRE_* and OTEL_* variables. Nothing is
    shed for a budget's sake unless they say so: it would depend on what else the machine does."""
    settings = {"PLAINWIRE_CAPTURE_SHED": "false", **settings}
    store = folder / "nats"
    store.mkdir(parents=True)
    with NatsServer(LocalProcess(), store) as server:
        pipeline = Pipeline(folder, server, settings)
        try:
            for service in SERVICES:
                pipeline.start(service)
            pipeline.wait_attached(system_libssl())
            yield pipeline
        finally:
            pipeline.stop()
