"""What is said where no server of our own can be started. Starting one is in the e2e tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli import embedded
from services.cli.errors import Failure


def test_a_missing_server_is_named_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "find", lambda: None)
    with pytest.raises(Failure, match="apt-get install nats-server") as caught:
        embedded.start(tmp_path)
    assert caught.value.status == 125


def test_the_server_is_found_where_debian_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/usr/sbin/nats-server").exists():
        pytest.skip("needs Debian's nats-server")
    monkeypatch.setenv("PATH", "/nowhere")
    assert embedded.find() == "/usr/sbin/nats-server"
