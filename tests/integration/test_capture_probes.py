"""A target that no longer describes the file at its path is refused before anything is attached."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from services.capture.channel import KernelError
from services.capture.child.loaded import Kernel
from services.capture.child.probes import Probes
from services.messages import FileIdentity, Target


def target(path: Path) -> Target:
    status = path.stat()
    identity = FileIdentity(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    return Target(
        identity=identity, path=str(path), name="libssl", family="openssl", library="", sites=()
    )


@pytest.fixture
def probes() -> Probes:
    return Probes(cast("Kernel", SimpleNamespace(programs={})))


def test_the_file_that_discovery_read_is_accepted(tmp_path: Path, probes: Probes) -> None:
    library = tmp_path / "libssl.so.3"
    library.write_bytes(b"one build")
    probes.attach(target(library), 1)


def test_a_library_that_was_replaced_is_refused(tmp_path: Path, probes: Probes) -> None:
    library = tmp_path / "libssl.so.3"
    library.write_bytes(b"one build")
    known = target(library)
    library.unlink()
    library.write_bytes(b"another")
    with pytest.raises(KernelError, match="not the file any more that discovery read"):
        probes.attach(known, 1)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path, probes: Probes) -> None:
    library = tmp_path / "libssl.so.3"
    library.write_bytes(b"one build")
    known = target(library)
    library.unlink()
    with pytest.raises(KernelError, match="libssl: No such file"):
        probes.attach(known, 1)
