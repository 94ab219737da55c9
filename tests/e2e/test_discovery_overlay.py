"""Two containers' overlays over one image have one libssl: one target, by the file below them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from services.discovery import inventory
from services.discovery.files import Files
from services.discovery.processes import Scan
from services.discovery.system import SystemLibraries

# In a mount namespace of its own, as a container is: nothing is left when it ends.
CONTAINER = """
set -e
mount -t tmpfs tmpfs "$1/private"
mkdir "$1/private/upper" "$1/private/work" "$1/private/root"
mount -t overlay overlay \
    -o "lowerdir=$1/image,upperdir=$1/private/upper,workdir=$1/private/work" "$1/private/root"
exec "$2" -c '
import ctypes, sys
ctypes.CDLL(sys.argv[1])
print("loaded", flush=True)
sys.stdin.read()
' "$1/private/root/libssl.so.3"
"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image").mkdir()
    (tmp_path / "private").mkdir()
    shutil.copy(SystemLibraries().tls_paths()[0], tmp_path / "image" / "libssl.so.3")
    return tmp_path


@contextmanager
def container(image: Path) -> Iterator[int]:
    command = ["unshare", "-m", "sh", "-c", CONTAINER, "sh", str(image), sys.executable]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        yield process.pid
        process.communicate()


def test_two_containers_of_one_image_have_one_target(image: Path) -> None:
    library = image / "image" / "libssl.so.3"
    with ExitStack() as running:
        pids = {running.enter_context(container(image)) for _ in range(2)}
        seen = [process for process in Scan(Files()).look() if process.pid in pids]
    state = inventory.targets("here", 0, (), seen)
    assert {process.pid for process in state.processes} == pids
    assert [target.path for target in state.targets] == [str(library)]
    identity = state.targets[0].identity
    assert (identity.device, identity.inode) == (library.stat().st_dev, library.stat().st_ino)
    assert {process.target for process in state.processes} == {identity.key()}
