"""Where the host's dynamic linker looks: directories of a test's own in place of the host's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.discovery import system
from services.discovery.system import SystemLibraries


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "ld.so.conf").write_text(f"# comment\ninclude {tmp_path}/conf.d/*.conf\n")
    monkeypatch.setattr(system, "_ROOTS", (str(tmp_path / "lib"),))
    monkeypatch.setattr(system, "_CONFIGURATION", str(tmp_path / "ld.so.conf"))
    return tmp_path


def test_links_lead_to_one_file(host: Path) -> None:
    (host / "lib" / "libssl.so.3.0.7").touch()
    (host / "lib" / "libssl.so.3").symlink_to("libssl.so.3.0.7")
    (host / "lib" / "libssl.so").symlink_to("libssl.so.3")
    (host / "lib" / "libssl.so.9").symlink_to("missing")
    (host / "lib" / ".libssl.so.3.hmac").touch()
    os.symlink(host / "lib", host / "lib64")
    assert SystemLibraries().tls_paths() == [str(host / "lib" / "libssl.so.3.0.7")]


def test_directories_of_the_linkers_configuration_are_searched(host: Path) -> None:
    (host / "opt").mkdir()
    (host / "opt" / "libssl.so.1.1").touch()
    (host / "conf.d" / "local.conf").write_text(f"relative\n{host}/opt  # ours\n{host}/missing\n")
    (host / "conf.d" / "loop.conf").write_text(f"include {host}/conf.d/*.conf\n")
    assert SystemLibraries().tls_paths() == [str(host / "opt" / "libssl.so.1.1")]


def test_a_library_that_is_installed_later_is_found(host: Path) -> None:
    libraries = SystemLibraries()
    assert libraries.tls_paths() == []
    (host / "lib" / "libssl.so.3").touch()
    assert libraries.tls_paths() == [str(host / "lib" / "libssl.so.3")]
