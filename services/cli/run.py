"""`plainwire run -- CMD`: a bus, the four services and CMD, for as long as CMD lives.

The order is the point: the launcher is forked before anything of ours exists, so that CMD has the
caller's mounts, signals and descriptors; what takes longest starts first.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services import linux
from services.cli import executables, host, permission
from services.cli.errors import CANNOT_EXECUTE, NOT_FOUND, PLAINWIRE_FAILED, Failure
from services.cli.host import Host
from services.cli.launcher import Command, Launcher
from services.cli.output import Output, open_output, say
from services.cli.service import check_settings
from services.cli.watch import Watch

_NOT_ENDED = -1


@dataclass(frozen=True)
class Options:
    command: list[str]
    json: bool
    output: str | None
    quiet: bool
    config: str | None


def run(options: Options) -> int:
    """CMD's exit status, or ours."""
    path = executables.find(options.command[0], os.environ)
    settings = check_settings(os.environ, options.config, PLAINWIRE_FAILED)
    permission.check()
    output = open_output(options.output, 1 if options.json else 2)
    linux.become_subreaper()
    launcher = Launcher(Command(path, options.command, _streams_of_cmd(options)))
    watch = Watch()
    watch.adopt(launcher.pid)
    started = host.prepare(watch, settings, options.config)
    _start_services(started, launcher.pid, path)
    return asyncio.run(_session(options, started, launcher, output))


def _streams_of_cmd(options: Options) -> Callable[[], None]:
    """Where stdout is ours alone, CMD's goes to stderr."""
    if options.json and options.output is None:
        return _stdout_to_stderr
    return lambda: None


def _stdout_to_stderr() -> None:
    os.dup2(2, 1)


def _start_services(started: Host, launcher: int, path: str) -> None:
    pipeline = started.pipeline
    pipeline.start("capture", PLAINWIRE_CAPTURE_PIDS=str(launcher))
    files = executables.tls_files(path, os.environ)
    pipeline.start("discovery", PLAINWIRE_DISCOVERY_FILES=",".join(files))
    pipeline.start("parse")
    pipeline.start("collect")


async def _session(options: Options, started: Host, launcher: Launcher, output: Output) -> int:
    # Slow to import: the services are starting meanwhile.
    from services.cli.feed import Feed, as_json, as_line
    from services.cli.observing import begin
    from services.cli.session import Session

    ending = Ending()
    with started.watch, ending:
        async with _stopping(started, launcher), await begin(started) as observer:
            feed = Feed(observer.bus, output, as_json if options.json else as_line)
            _go(launcher, options.command[0])
            session = Session(started, observer, launcher, feed)
            ending.status = await session.follow()
            if session.intact:
                _report(options, output, *await observer.summary(feed.witnesses))
    return ending.status


@asynccontextmanager
async def _stopping(started: Host, launcher: Launcher) -> AsyncIterator[None]:
    try:
        yield
    finally:
        launcher.cancel()
        await started.stop()


class Ending:
    """CMD's status, once it has ended, is what counts: what fails after that is only said."""

    def __init__(self) -> None:
        self.status: int = _NOT_ENDED

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if self.status == _NOT_ENDED or not isinstance(error, Exception):
            return False
        say(f"stopped untidily: {type(error).__name__}")
        return True


def _report(options: Options, output: Output, text: str, lost: bool) -> None:
    """One line at the end; losses are said even where nobody asked."""
    if output.closed:
        say("not all witnesses were written: the output was closed")
    if lost or not options.quiet:
        say(text)


def _go(launcher: Launcher, name: str) -> None:
    if number := launcher.go():
        missing = number == errno.ENOENT  # the file is there, its interpreter isn't
        raise Failure(
            f"{name}: can't be executed: {os.strerror(number)}"
            + ("; is the interpreter in its first line installed?" if missing else ""),
            NOT_FOUND if missing else CANNOT_EXECUTE,
        )
