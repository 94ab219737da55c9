"""Files that discovery opens, on a real file system: what can be there in place of a library."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from services.discovery.files import Files
from services.discovery.system import SystemLibraries
from tests.support.elf_file import Library
from tests.support.tls_code import BODIES, CONTENT


@pytest.fixture
def files() -> Files:
    return Files()


def test_a_library_is_resolved_once_by_whatever_path(files: Files, tmp_path: Path) -> None:
    library = tmp_path / "libssl.so.3"
    library.write_bytes(CONTENT)
    (tmp_path / "link").symlink_to(library)
    os.link(library, tmp_path / "hard")
    found = {files.find(str(tmp_path / name)) for name in ("libssl.so.3", "link", "hard")}
    assert len(found) == files.resolved == 1
    finding = found.pop()
    assert finding is not None
    assert finding.identity.inode == library.stat().st_ino
    assert (finding.identity.build_id, finding.library) == ("c0ffee", "openssl 3.0.99")
    assert {site.operation for site in finding.sites} == {"read", "write", "new", "clear", "free"}


def test_a_library_that_is_replaced_is_another(files: Files, tmp_path: Path) -> None:
    library, other = tmp_path / "libssl.so.3", tmp_path / "new"
    library.write_bytes(CONTENT)
    first = files.find(str(library))
    other.write_bytes(Library(BODIES, build_id="beef").content())
    other.rename(library)
    second = files.find(str(library))
    assert first is not None
    assert second is not None
    assert (first.identity.build_id, second.identity.build_id) == ("c0ffee", "beef")


def test_the_version_is_read_from_the_libcrypto_beside_it(files: Files, tmp_path: Path) -> None:
    (tmp_path / "libssl.so.3").write_bytes(Library(BODIES, read_only=b"-").content())
    (tmp_path / "libcrypto.so.3").write_bytes(Library({"f": b"\xc3"}).content())
    finding = files.find(str(tmp_path / "libssl.so.3"))
    assert finding is not None
    assert finding.library == "openssl 3.0.99"


def test_what_is_no_regular_file_is_not_opened(files: Files, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    names = ("fifo", "loop", "missing", ".", "x" * 5000)
    assert [files.find(str(tmp_path / name)) for name in names] == [None] * 5
    assert files.find("/dev/zero") is None
    assert files.find("/lib\0ssl") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "malformed", id="empty"),
        pytest.param(b"\x7fELF\x02\x01" + b"\xff" * 200, "malformed", id="garbage"),
        pytest.param(Library({"main": b"\xc3"}).content(), "no symbols", id="without-calls"),
    ],
)
def test_a_file_that_cannot_be_probed_says_why(
    files: Files, tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "libssl.so.3"
    path.write_bytes(content)
    finding = files.find(str(path))
    assert finding is not None
    assert finding.sites == ()
    assert reason in finding.reason


def test_a_huge_sparse_file_costs_nothing(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "libssl.so.3"
    path.write_bytes(CONTENT)
    os.truncate(path, 1 << 40)
    assert files.find(str(path)) is not None


def test_what_is_known_is_only_what_was_found_before(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "libssl.so.3"
    path.write_bytes(CONTENT)
    assert files.known(str(path)) is None
    found = files.find(str(path))
    assert files.known(str(path)) is found is not None
    assert files.known(str(tmp_path / "missing")) is None


def test_a_link_beside_a_library_is_not_followed_out_of_its_folder(
    files: Files, tmp_path: Path
) -> None:
    """In a container it would lead to the host's own."""
    (tmp_path / "host").write_bytes(Library({"f": b"\xc3"}).content())
    for name, link in (("out", tmp_path / "host"), ("up", "../host"), ("in", "libcrypto.so.3.0.9")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "libssl.so.3").write_bytes(Library(BODIES, read_only=b"-").content())
        (folder / "libcrypto.so.3.0.9").write_bytes(Library({"f": b"\xc3"}).content())
        (folder / "libcrypto.so.3").symlink_to(link)
    found = [files.find(str(tmp_path / name / "libssl.so.3")) for name in ("out", "up", "in")]
    assert [f.library for f in found if f] == ["openssl 3", "openssl 3", "openssl 3.0.99"]


def test_the_hosts_gnutls_is_read_through_the_linkers_table(files: Files) -> None:
    """gnutls_record_send is a jump through it, and needs no probe of its own."""
    paths = [path for path in SystemLibraries().tls_paths() if "/libgnutls.so." in path]
    if not paths:
        pytest.skip("no libgnutls on this host")
    finding = files.find(paths[0])
    assert finding is not None
    assert (finding.family, finding.reason) == ("gnutls", "")
    assert re.fullmatch(r"gnutls \d+\.\d+\.\d+", finding.library)
    functions = {site.function for site in finding.sites if site.operation == "write"}
    assert "gnutls_record_send2" in functions
    assert "gnutls_record_send" not in functions


def test_a_program_that_only_uses_a_library_has_no_tls_code_of_its_own(files: Files) -> None:
    finding = files.find("/usr/bin/openssl")
    assert finding is not None
    assert not finding.is_tls()
    assert finding.sites == ()


def test_the_host_s_libcrypto_is_probed_where_it_writes_into_memory(files: Files) -> None:
    paths = [p for p in SystemLibraries().libcrypto_paths() if p.endswith("libcrypto.so.3")]
    if not paths:
        pytest.skip("needs libcrypto.so.3")
    finding = files.find(paths[0])
    assert finding is not None
    assert [site.function for site in finding.sites] == ["BIO_s_mem -> write", "BIO_s_bio -> write"]
    assert not finding.is_tls()
