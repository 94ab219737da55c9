"""What /proc says of a process whose name is made to confuse."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from services import procfs


def test_the_parent_is_found_behind_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a) b (R 1"
    shutil.copy(shutil.which("cat") or "", program)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        found = procfs.stat(process.pid)
    assert found is not None
    assert (found.process, found.parent) == (program.name, os.getpid())


def test_a_process_that_is_gone_has_no_status() -> None:
    with subprocess.Popen(["true"]) as process:
        pass
    assert procfs.stat(process.pid) is None
