"""The command line: what can be typed, and where each subcommand is. Decides nothing else.

Everything behind a subcommand is imported only when it is used: `plainwire decode` is started once
a message.
"""

from __future__ import annotations

import os
import sys
from argparse import (
    REMAINDER,
    Action,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    RawDescriptionHelpFormatter,
)
from typing import NoReturn

from services.cli.errors import PLAINWIRE_FAILED, Failure

PROGRAM = "plainwire"


class Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, not argparse's two."""
        raise Failure(f"{message}; see `{self.prog} --help`", status=2)


class Version(Action):
    def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
        """Looked up only when it is asked for: that takes longer than all else here."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            release = version(PROGRAM)
        except PackageNotFoundError:
            release = "(not installed)"
        sys.stdout.write(f"{PROGRAM} {release}\n")
        parser.exit()


def parser() -> Parser:
    top = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} COMMAND [OPTION ...]",
        description="Shows the HTTPS of programs on this host in plaintext.",
        epilog="example: plainwire run -- curl https://example.com/",
    )
    top.add_argument("--version", action=Version, nargs=0, help="say the release and end")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, prog=PROGRAM)
    for name, (description, example, declare) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=description,
            description=f"{description[0].upper()}{description[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        declare(command)
    return top


def _nothing(_: ArgumentParser) -> None:
    return


def _config(command: ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", help="TOML settings (PLAINWIRE_CONFIG)")


def _lines(command: ArgumentParser, json: str) -> None:
    command.add_argument("--json", action="store_true", help=json)
    command.add_argument("--output", metavar="FILE", help="write witnesses to FILE")
    command.add_argument("-q", "--quiet", action="store_true", help="no summary at the end")
    _config(command)


def _bus(command: ArgumentParser) -> None:
    command.add_argument(
        "--nats", metavar="URL", help="the bus (default: PLAINWIRE_NATS_URL, a running `up`)"
    )
    _config(command)


def _run(command: ArgumentParser) -> None:
    _lines(command, "a JSON object a line on stdout, where CMD's own output goes to stderr")
    command.usage = f"{PROGRAM} run [--json] [--output FILE] [-q] [--config FILE] -- CMD ..."
    command.add_argument("cmd", nargs=REMAINDER, metavar="CMD", help="command and arguments")


def _up(command: ArgumentParser) -> None:
    command.add_argument(
        "--pid", type=int, action="append", default=[], metavar="P", help="only P and its children"
    )
    command.add_argument("--nats", metavar="URL", help="use this bus, start none")
    _lines(command, "a JSON object a line")


def _tap(command: ArgumentParser) -> None:
    command.add_argument("what", choices=("raw", "frames", "witnesses", "coverage"))
    filters = command.add_argument_group("filters, for `tap witnesses`")
    for name, meaning in (
        ("namespace", "Kubernetes namespace (`host` on a host)"),
        ("workload", "workload (on a host: the executable)"),
        ("pod", "pod"),
        ("host", "the request's host; * and ? are wildcards"),
        ("path", "the request's path; * and ? are wildcards"),
        ("status", "the response's status: 404, or 5xx"),
    ):
        filters.add_argument(f"--{name}", metavar=name.upper(), help=meaning)
    command.add_argument("--json", action="store_true", help="a JSON object a line")
    command.add_argument(
        "--payload", action="store_true", help="show captured bytes, escaped (raw, frames)"
    )
    command.add_argument("-n", "--count", type=_count, metavar="N", help="end after N")
    _bus(command)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text}: a number from 1 on")
    return int(text)


def _coverage(command: ArgumentParser) -> None:
    command.add_argument("--sites", action="store_true", help="where probes sit, and their cost")
    _ask(command)


def _ledger(command: ArgumentParser) -> None:
    command.add_argument(
        "--shards", action="store_true", help="who owns each shard, its lag and its snapshot"
    )
    _ask(command)


def _decode(command: ArgumentParser) -> None:
    command.add_argument("--payload", action="store_true", help="show captured bytes, escaped")


def _ask(command: ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="JSON instead of lines")
    _bus(command)


COMMANDS = {
    "doctor": (
        "check whether this host can capture, and say what mends it",
        "plainwire doctor",
        _ask,
    ),
    "run": (
        "run a command and show the HTTPS of it and of its children",
        "plainwire run --json -- curl -s https://example.com/ | jq .request.path",
        _run,
    ),
    "up": (
        "show the HTTPS of this host until Ctrl-C",
        "plainwire up --pid 4242",
        _up,
    ),
    "discovery": ("run the service that finds TLS code", "plainwire discovery", _config),
    "capture": ("run the service that probes TLS code", "plainwire capture", _config),
    "parse": ("run the service that parses protocols", "plainwire parse", _config),
    "collect": ("run the service that pairs and redacts", "plainwire collect", _config),
    "tap": (
        "show what flows on the bus",
        "plainwire tap witnesses --host 'api.*' --status 5xx",
        _tap,
    ),
    "decode": (
        "show one message from stdin as text",
        "nats sub --translate 'plainwire decode' 'plainwire.frames.>'",
        _decode,
    ),
    "coverage": ("show which TLS is captured, and why not", "plainwire coverage", _coverage),
    "ledger": ("show what was seen, parsed and lost", "plainwire ledger --shards", _ledger),
}


def main(arguments: list[str] | None = None) -> int:
    """The exit status. Whatever goes wrong, the user gets one line."""
    try:
        return _dispatch(_parse(sys.argv[1:] if arguments is None else arguments))
    except Failure as failure:
        return _fail(str(failure), failure.status)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our stdout has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if os.environ.get("PLAINWIRE_DEBUG"):
            raise
        where = f"{type(error).__name__} in {_origin(error)}"
        return _fail(f"a bug: {where}; PLAINWIRE_DEBUG=1 shows more", PLAINWIRE_FAILED)


def _parse(arguments: list[str]) -> Namespace:
    try:
        return parser().parse_args(arguments)
    except Failure as failure:
        if arguments[:1] == ["run"]:  # 2 could be CMD's own status
            failure.status = PLAINWIRE_FAILED
        raise


def _fail(text: str, status: int) -> int:
    from services.cli.rendering import escape  # an argument may steer the terminal

    line = escape(" ".join(f"{PROGRAM}: {text}".split()))
    sys.stderr.write(f"{line}\n")
    return status


def _origin(error: BaseException) -> str:
    """Module and line, and not the error's text: it may quote what was captured."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_globals.get('__name__')}:{step.tb_lineno}" if step else "?"


def _dispatch(given: Namespace) -> int:
    match given.command:
        case "run":
            from services.cli import run

            cmd = given.cmd[1:] if given.cmd[:1] == ["--"] else given.cmd
            if not cmd:
                raise Failure("which command? plainwire run -- CMD ...", PLAINWIRE_FAILED)
            return run.run(run.Options(cmd, given.json, given.output, given.quiet, given.config))
        case "up":
            from services.cli import up

            return up.run(
                up.Options(
                    given.pid, given.nats, given.json, given.output, given.quiet, given.config
                )
            )
        case "decode":
            from services.cli import decode

            return decode.run(payload=given.payload)
        case "doctor":
            from services.cli import doctor

            return doctor.run(given.nats, given.config, as_json=given.json)
        case "tap" | "coverage" | "ledger":
            from services.cli import reading

            return reading.run(given)
        case name:
            from services.cli import service

            return service.run(name, os.environ, given.config)


if __name__ == "__main__":
    sys.exit(main())
