"""Which modules are held to do no I/O: all that can be. `lint-imports` proves that they do none."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[3]
CONTRACT = "Cores do no I/O"


def contract() -> dict[str, list[str]]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = document["tool"]["importlinter"]["contracts"]
    (found,) = [contract for contract in contracts if contract["name"] == CONTRACT]
    return found


def test_a_module_that_reaches_no_io_is_named_as_a_core() -> None:
    graph = grimp.build_graph("services", include_external_packages=True, cache_dir=None)
    forbidden, named = set(contract()["forbidden_modules"]), contract()["source_modules"]
    own = {module for module in graph.modules if module.partition(".")[0] == "services"}
    pure = {
        module
        for module in own
        if graph.find_modules_directly_imported_by(module)
        and not graph.find_upstream_modules(module) & forbidden
    }
    unnamed = {module for module in pure if not any(fnmatchcase(module, name) for name in named)}
    assert unnamed == set(), f"name them in pyproject.toml, in the contract {CONTRACT!r}"
