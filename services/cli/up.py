"""`plainwire up`: the same pipeline on this host until Ctrl-C, on its own bus or on somebody's."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from services.cli import context, host, permission
from services.cli.errors import PLAINWIRE_FAILED, Failure
from services.cli.host import Host
from services.cli.output import Output, open_output, say
from services.cli.service import check_settings
from services.cli.watch import Watch

if TYPE_CHECKING:
    from services.cli.embedded import Server
    from services.cli.feed import Feed
    from services.cli.observing import Observer


@dataclass(frozen=True)
class Options:
    pids: list[int]
    nats: str | None
    json: bool
    output: str | None
    quiet: bool
    config: str | None


def run(options: Options) -> int:
    settings = check_settings(os.environ, options.config, PLAINWIRE_FAILED)
    permission.check()
    for pid in options.pids:
        if not os.path.isdir(f"/proc/{pid}"):
            raise Failure(f"--pid {pid}: there is no such process", PLAINWIRE_FAILED)
    output = open_output(options.output, 1)
    context.clear(os.environ)
    if options.nats:
        _check_bus(options)
        settings = msgspec.structs.replace(settings, nats_url=options.nats)
    watch = Watch()
    if options.nats:
        started = host.prepare_on(watch, settings, options.config)
    else:
        started = host.prepare(watch, settings, options.config)
    _start_services(started, options.pids)
    return asyncio.run(_session(options, started, output))


def _check_bus(options: Options) -> None:
    """Before anything is started: the services would try for longer than a user wants to wait."""
    from services.cli.reading import reader

    async def ask() -> None:
        async with reader(options.nats, options.config):
            pass

    try:
        asyncio.run(ask())
    except Failure as failure:
        raise Failure(str(failure), PLAINWIRE_FAILED) from None


def _start_services(started: Host, pids: list[int]) -> None:
    """Every process but ourselves, or those named; their descendants too."""
    if pids:
        which = {"PLAINWIRE_CAPTURE_PIDS": ",".join(map(str, pids))}
    else:
        which = {"PLAINWIRE_CAPTURE_EXCLUDE_PIDS": str(os.getpid())}
    started.pipeline.start("capture", **which)
    for name in ("discovery", "parse", "collect"):
        started.pipeline.start(name)


async def _session(options: Options, started: Host, output: Output) -> int:
    # Slow to import: the services are starting meanwhile.
    from services.cli import table
    from services.cli.feed import Feed, as_json, as_line, as_row
    from services.cli.observing import begin

    watched = not options.json and os.isatty(output.descriptor)
    render = as_json if options.json else as_row if watched else as_line

    with started.watch:
        try:
            async with await begin(started) as observer:
                feed = Feed(observer.bus, output, render)
                if watched and table.fits(shutil.get_terminal_size().columns):
                    output.line(table.header().encode())
                await _until_told(options, started, observer, feed)
                if output.closed:
                    say("not all witnesses were written: the output was closed")
                if not options.quiet:
                    say((await observer.summary(feed.witnesses))[0])
            return PLAINWIRE_FAILED if output.closed else 0
        finally:
            context.clear(os.environ, of=os.getpid())
            await started.stop()


def _leave_context(server: Server) -> None:
    other = context.read(os.environ)
    if other is None:
        context.write(server, os.environ)
    else:
        say(f"other terminals see the `plainwire up` of process {other.pid}, not this one")


async def _until_told(options: Options, started: Host, observer: Observer, feed: Feed) -> None:
    from services.cli.feed import last_sequence
    from services.cli.tasks import beside, race

    async def signal() -> None:
        await started.watch.signals.get()

    async def unread() -> None:
        await feed.unread.wait()

    async def told() -> None:
        await race(signal(), unread(), within=None)
        if not feed.unread.is_set():
            await race(observer.drain(feed), signal(), within=None)

    before = await last_sequence(observer.bus) if options.nats else 0
    if started.server:
        _leave_context(started.server)
    say("ready")
    await beside(
        told(),
        feed.run(before),
        observer.missed.run(),
        started.pipeline.keep_alive(),
        started.fail_if_server_ends(),
    )
