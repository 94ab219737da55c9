"""Descendants and last words; the environment of services. Not: starting and ending processes."""

from __future__ import annotations

from pathlib import Path

from services.cli.pipeline import services_environ
from services.cli.processes import Living, descendants, last_words, living

TREE = [
    Living(1, 0, "init"),
    Living(10, 1, "plainwire"),
    Living(11, 10, "nats-server"),
    Living(12, 10, "capture"),
    Living(13, 12, "child of capture"),
    Living(14, 10, "cmd"),
    Living(15, 14, "child of cmd"),
    Living(16, 1, "other"),
]


def test_descendants_are_without_the_trees_that_are_ours() -> None:
    assert [p.pid for p in descendants(TREE, 10, [11, 12])] == [14, 15]
    assert descendants(TREE, 16, []) == []


def test_the_living_include_this_process_s_parent() -> None:
    assert any(process.pid == 1 for process in living())


def test_last_words_are_the_last_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_text("first\nlast \n\n")
    assert last_words(log) == "last"


def test_services_get_ours_and_not_what_is_meant_for_the_command_s_python() -> None:
    found = services_environ(
        {"PATH": "/bin", "PYTHONPATH": "/more", "PYTHONINSPECT": "x", "PLAINWIRE_NODE": "n"},
        shards="1",
    )
    assert found["PATH"] == "/bin"
    assert (found["PLAINWIRE_NODE"], found["PLAINWIRE_SHARDS"]) == ("n", "1")
    assert "PYTHONINSPECT" not in found
    first, *others = found["PYTHONPATH"].split(":")
    assert (Path(first) / "services" / "cli").is_dir()
    assert others == ["/more"]
    assert found["PYTHONSAFEPATH"] == "1"
