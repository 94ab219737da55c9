"""The four services as subcommands, and their settings as one set: a key that none of the four
knows is refused, whichever of them is started."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from services.cli import permission
from services.cli.errors import Failure
from services.settings import SettingsError, SharedSettings, load

NAMES = ("discovery", "capture", "parse", "collect")


def settings_kinds() -> dict[str, type[SharedSettings]]:
    return {name: importlib.import_module(f"services.{name}.settings").Settings for name in NAMES}


def settings_of(name: str, environ: Mapping[str, str], config: str | None) -> SharedSettings:
    """Raises Failure."""
    kinds = settings_kinds()
    try:
        return load(kinds[name], name, environ, config or environ.get("PLAINWIRE_CONFIG"), kinds)
    except SettingsError as error:
        raise Failure(str(error)) from None


def shared_settings(environ: Mapping[str, str], config: str | None = None) -> SharedSettings:
    """What the command itself needs: node, bus. Raises Failure."""
    path = config or environ.get("PLAINWIRE_CONFIG")
    try:
        return load(SharedSettings, "", environ, path, settings_kinds())
    except SettingsError as error:
        raise Failure(str(error)) from None


def check_settings(environ: Mapping[str, str], config: str | None, status: int) -> SharedSettings:
    """Every service's, before any of them starts. Raises Failure with `status`."""
    try:
        for name in NAMES:
            settings_of(name, environ, config)
        return shared_settings(environ, config)
    except Failure as failure:
        raise Failure(str(failure), status) from None


def run(name: str, environ: Mapping[str, str], config: str | None) -> int:
    settings = settings_of(name, environ, config)
    if name == "capture":
        permission.check()
    main = importlib.import_module(f"services.{name}.main").main
    status: int = main(settings)
    return status
