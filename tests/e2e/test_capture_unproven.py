"""Calls of which not enough is known: they are counted, and nothing is read for them.

Ends of Go's calls whose arguments nobody has proven, a Write that outlasts its Conn, and calls that
began at probes which were taken off since.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from nats.aio.msg import Msg

from demo import certificate
from services import subjects
from services.discovery import inventory
from services.discovery.code import elf
from services.discovery.files import Files
from services.discovery.processes import standing
from services.messages import FileIdentity, ServiceLedger, Sightings, Site, Target, Targets
from tests.support import capturing, go_builds, truths
from tests.support.capturing import NODE, Capture, until
from tests.support.go_builds import NEWEST

APPS = Path(__file__).parent / "apps"
LYING = b"what lies there"
# Says what it hears; all on one thread.
ECHO = """
import socket, ssl, sys
plain = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
tls = ssl._create_unverified_context().wrap_socket(plain)
while word := tls.recv(100):
    tls.send(word)
"""


async def counter(capture: Capture, name: str) -> int:
    return msgspec.json.decode(await capture.ask("ledger"), type=ServiceLedger).counters[name]


async def follow(capture: Capture, wanted: Targets) -> None:
    """Returns when just these are attached."""
    payload = msgspec.json.encode(wanted)
    await capture.client.jetstream().publish(subjects.targets(NODE), payload)
    keys = {target.identity.key() for target in wanted.targets}
    while set(msgspec.json.decode(await capture.ask("ready"))["attached"]) != keys:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(*command: str, cwd: Path) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def goes_on(process: Process) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"go\n")
    return await process.stdout.readline()


def like_go(folder: Path) -> Path:
    program = folder / "like"
    source = str(APPS / "go_like.c")
    subprocess.run(["gcc", "-no-pie", "-o", str(program), source], check=True, timeout=60)
    return program


def ends_of(program: Path, *, proven: bool) -> Targets:
    """Only the call's end is probed."""
    data = program.read_bytes()
    listed = subprocess.run(["nm", str(program)], check=True, capture_output=True, text=True).stdout
    (address,) = (int(row.split()[0], 16) for row in listed.splitlines() if "read_end" in row)
    offset = elf.parse(lambda at, size: data[at : at + size]).file_offset(address)
    assert offset is not None
    assert data[offset] == 0xC3
    site = Site(
        operation="read", event="exit", abi="go", function="Read", kind="uprobe", address=address,
        offset=offset, cost="single_step", keeps_arguments=proven,
    )  # fmt: skip
    status = program.stat()
    identity = FileIdentity(
        device=status.st_dev, inode=status.st_ino, size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )  # fmt: skip
    target = Target(
        name="like", path=str(program), identity=identity, family="go", library="go crypto/tls",
        sites=(site,),
    )  # fmt: skip
    return Targets(node=NODE, time_ns=0, targets=(target,))


async def test_of_an_end_whose_call_is_not_proven_nothing_is_read(tmp_path: Path) -> None:
    program = like_go(tmp_path)
    unproven, proven = ends_of(program, proven=False), ends_of(program, proven=True)
    async with (
        running(str(program), "kgk", cwd=tmp_path) as process,
        capturing.capturing(tmp_path, unproven, pids=process.pid) as capture,
    ):
        for number in (1, 2):  # the second's goroutine can't be read
            assert await goes_on(process) == b"done\n"
            assert await counter(capture, "calls_unmatched") == number
        delivered = await capture.tick()
        assert delivered.of(process.pid) == []
        await follow(capture, msgspec.structs.replace(proven, targets=()))
        await follow(capture, proven)
        assert await goes_on(process) == b"done\n"
        delivered = await capture.tick()
        streams = [stream.whole() for stream in delivered.streams.values()]
        assert streams == [LYING]
        assert await counter(capture, "calls_unmatched") == 2


async def test_a_write_that_outlasts_its_conn_makes_no_other_connection(tmp_path: Path) -> None:
    truths.certificate(tmp_path)
    program = go_builds.built(APPS / "go_late", NEWEST)
    wanted = inventory.targets("here", 0, standing(Files(), [str(program)]), ())
    async with (
        running(str(program), str(tmp_path / "both.pem"), cwd=tmp_path) as process,
        capturing.capturing(tmp_path, wanted, pids=process.pid) as capture,
    ):
        assert await goes_on(process) == b"13\n"
        delivered = await capture.tick()
        assert await counter(capture, "calls_late") == 1
        assert await counter(capture, "late_bytes") == 13
        both = delivered.of(process.pid)
        assert [delivered.opened[one].mid_connection for one in both] == [False, False]
        spoken = [stream.whole() for stream in delivered.streams.values()]
        assert spoken == [b"in time", b"in time"]
        await until(lambda: len(delivered.closed) == 2)
        reasons = {delivered.closed[one].reason for one in both}
        assert reasons == {"freed", "exited"}


class Words:
    """A server of one client, which repeats what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def tell(self, word: bytes) -> None:
        self._writer.write(word)
        assert await self._reader.readexactly(len(word)) == word

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def echoing(folder: Path) -> AsyncIterator[tuple[Process, Words]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.make(folder))
    met = asyncio.get_running_loop().create_future()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set_result(Words(reader, writer))

    server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, running(sys.executable, "-c", ECHO, str(port), cwd=folder) as process:
        words = await asyncio.wait_for(met, truths.SECONDS)
        await words.tell(b"before")
        try:
            yield process, words
        finally:
            words.close()


async def waits(process: Process) -> None:
    """It is asleep, and so in a Read."""
    stat = Path(f"/proc/{process.pid}/stat")
    await until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")


def libssl_of(process: Process) -> Targets:
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    (path,) = {row.split()[-1] for row in maps.splitlines() if "libssl" in row}
    return inventory.targets("here", 0, standing(Files(), [path]), ())


async def test_a_call_that_outlasts_its_probes_hides_and_tells_nothing(tmp_path: Path) -> None:
    sighted: set[int] = set()

    async def sees(message: Msg) -> None:
        told = msgspec.json.decode(message.data, type=Sightings)
        sighted.update(one.pid for one in told.sightings if one.kind == "tls_on_wire")

    async with echoing(tmp_path) as (process, words):
        wanted = libssl_of(process)
        async with capturing.capturing(tmp_path, wanted, pids=process.pid) as capture:
            await capture.client.subscribe(subjects.sightings(NODE), cb=sees)
            await words.tell(b"A")  # its Read began before the probes, as B's will
            await words.tell(b"seen")
            await waits(process)
            assert process.pid not in sighted
            await follow(capture, msgspec.structs.replace(wanted, targets=()))
            async with asyncio.timeout(truths.SECONDS):
                while process.pid not in sighted:
                    await words.tell(b"unseen")
                    await asyncio.sleep(0.02)
            await waits(process)
            await follow(capture, wanted)
            assert await counter(capture, "calls_unmatched") == 1
            await words.tell(b"B")
            assert await counter(capture, "calls_unmatched") == 2
            await words.tell(b"again")
            delivered = await capture.tick()
            spoken = [stream.whole() for stream in delivered.streams.values()]
            assert sorted(spoken) == [b"AseenBagain", b"seenagain"]
