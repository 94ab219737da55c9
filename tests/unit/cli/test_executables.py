"""What a command resolves to: PATH, #!, libraries. Files are made in a temporary directory; the ELF
files are those that run this test. Not: executing anything."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from services.cli import executables
from services.cli.errors import Failure


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_name_is_looked_up_in_path(tmp_path: Path) -> None:
    script(tmp_path / "a" / "tool", "", 0o644)
    second = script(tmp_path / "b" / "tool", "")
    environ = {"PATH": f"{tmp_path}/a:{tmp_path}/b"}
    assert executables.find("tool", environ) == str(second)


def test_a_missing_command_is_127() -> None:
    with pytest.raises(Failure, match="command not found") as caught:
        executables.find("no-such-command", {"PATH": "/usr/bin"})
    assert caught.value.status == 127


def test_a_missing_file_is_127(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="no such file") as caught:
        executables.find(str(tmp_path / "x"), {})
    assert caught.value.status == 127


@pytest.mark.parametrize("name", ["tool", "./tool", "directory/"])
def test_what_cannot_be_executed_is_126(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "tool", "", 0o644)
    (tmp_path / "directory").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failure) as caught:
        executables.find(name, {"PATH": str(tmp_path)})
    assert caught.value.status == 126


def test_an_interpreter_is_followed_to_its_file(tmp_path: Path) -> None:
    inner = script(tmp_path / "inner", "#!/bin/sh -e\n")
    outer = script(tmp_path / "outer", f"#! {inner} arg\n")
    assert list(executables.interpreters(str(outer), {})) == [str(outer), str(inner), "/bin/sh"]


def test_env_is_looked_through(tmp_path: Path) -> None:
    tool = script(tmp_path / "bin" / "tool", "no interpreter")
    outer = script(tmp_path / "outer", "#!/usr/bin/env -S A=1 tool -x\n")
    found = list(executables.interpreters(str(outer), {"PATH": str(tmp_path / "bin")}))
    assert found == [str(outer), "/usr/bin/env", str(tool)]


def test_a_circle_of_interpreters_ends(tmp_path: Path) -> None:
    circle = script(tmp_path / "circle", f"#!{tmp_path}/circle\n")
    assert len(list(executables.interpreters(str(circle), {}))) == 5


def test_a_missing_interpreter_ends_the_chain(tmp_path: Path) -> None:
    orphan = script(tmp_path / "orphan", "#!/nowhere/at/all\n")
    assert list(executables.interpreters(str(orphan), {})) == [str(orphan)]


def test_an_executable_and_its_tls_libraries_are_found() -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    found = executables.tls_files(curl, os.environ)
    assert found[0] == os.path.realpath(curl)
    assert any(os.path.basename(path).startswith("libssl.so") for path in found)


def test_a_script_leads_to_its_interpreter(tmp_path: Path) -> None:
    outer = script(tmp_path / "outer", f"#!{sys.executable}\n")
    assert executables.tls_files(str(outer), {})[0] == os.path.realpath(sys.executable)


def test_what_is_no_elf_file_has_no_tls_files(tmp_path: Path) -> None:
    assert executables.tls_files(str(script(tmp_path / "x", "echo\n")), {}) == []
    assert executables.tls_files(str(script(tmp_path / "y", "\x7fELF broken")), {}) == []


def test_a_library_is_searched_where_the_environment_says(tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    shutil.copy(os.path.realpath("/usr/lib/x86_64-linux-gnu/libssl.so.3"), tmp_path / "libssl.so.3")
    found = executables.tls_files(curl, {"LD_LIBRARY_PATH": str(tmp_path)})
    assert str(tmp_path / "libssl.so.3") in found
