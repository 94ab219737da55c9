"""What is asked of a descriptor, and which file a process is said to run."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from services import procfs
from services.capture.child import overhearing


def test_a_socket_has_its_protocols_name() -> None:
    with socket.socket() as tcp:
        assert overhearing._protocol(os.getpid(), tcp.fileno()) == "TCP"


def test_what_is_no_socket_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("a file system was asked")

    monkeypatch.setattr(os, "getxattr", never)
    reading, writing = os.pipe()
    file = os.open(tmp_path / "socket:[1]", os.O_CREAT | os.O_RDWR)
    for descriptor in (reading, writing, file):
        assert overhearing._protocol(os.getpid(), descriptor) == "-"
        os.close(descriptor)
    assert overhearing._protocol(os.getpid(), file) == ""


def test_a_process_runs_the_file_that_has_its_name_here() -> None:
    owner = overhearing._owner(os.getpid())
    assert owner is not None
    assert owner.executable == os.path.realpath(f"{procfs.PROC}/self/exe")


def process(place: Path, executable: Path) -> Path:
    """As /proc shows one, with our root."""
    (place / "7").mkdir(parents=True)
    (place / "7" / "root").symlink_to("/")
    (place / "7" / "exe").symlink_to(executable)
    return place


def test_another_file_of_that_name_is_not_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The link's text and the file that it opens are two things, of a container's process."""
    app, other = tmp_path / "app", tmp_path / "other"
    app.touch()
    other.touch()
    place = process(tmp_path / "proc", app)
    monkeypatch.setattr(procfs, "PROC", str(place))
    assert overhearing._executable(7) == str(app)
    monkeypatch.setattr(os, "readlink", lambda path: str(other))
    assert overhearing._executable(7) == ""
    monkeypatch.setattr(os, "readlink", lambda path: f"{app} (deleted)")
    assert overhearing._executable(7) == ""


def test_of_a_process_with_another_root_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = tmp_path / "app"
    app.touch()
    place = process(tmp_path / "proc", app)
    (place / "7" / "root").unlink()
    (place / "7" / "root").symlink_to(tmp_path)
    monkeypatch.setattr(procfs, "PROC", str(place))
    assert overhearing._executable(7) == ""
