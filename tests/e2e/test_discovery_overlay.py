"""Two containers' overlays over one image have one libssl: one target, by the file below them, in
every form that overlays have. A file that a container has changed is its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from services.capture.child.probes import the_same_file
from services.discovery import inventory
from services.discovery.files import Files
from services.discovery.processes import Scan
from services.messages import Target, Targets
from tests.support import pipeline

# In a mount namespace of its own, as a container is: nothing is left when it ends. $1 is a folder
# with `image/libssl.so.3`, $3 the script that mounts the overlay at `root`.
CONTAINER = """
set -e
cd "$1"
mount -t tmpfs tmpfs private
mkdir private/upper private/work private/root
eval "$3"
exec "$2" -c '
import ctypes, os, sys
ctypes.CDLL(sys.argv[1])
os.write(1, b"loaded\\n")
sys.stdin.read()
' "$1/private/root/libssl.so.3"
"""
OVERLAY = "mount -t overlay overlay -o"
UPPER = "upperdir=$1/private/upper,workdir=$1/private/work"
SHARED = {
    "plain": f'{OVERLAY} "lowerdir=$1/image,{UPPER}" private/root',
    "index": f'{OVERLAY} "index=on,lowerdir=$1/image,{UPPER}" private/root',
    "userxattr": f'{OVERLAY} "userxattr,lowerdir=$1/image,{UPPER}" private/root',
    "xino": f'{OVERLAY} "xino=on,lowerdir=$1/image,{UPPER}" private/root',
    "several layers": f'{OVERLAY} "lowerdir=$1/other:$1/image:$1/older,{UPPER}" private/root',
    "short links": f'{OVERLAY} "lowerdir=$1/l/AA:$1/l/BB,{UPPER}" private/root',
    "relative": f'{OVERLAY} "lowerdir=l/AA:l/BB,upperdir=private/upper,workdir=private/work" '
    "private/root",
    "read only": f'{OVERLAY} "lowerdir=$1/image:$1/other" private/root',
    "metadata copied": f'{OVERLAY} "metacopy=on,redirect_dir=on,lowerdir=$1/image,{UPPER}" '
    "private/root; chmod 700 private/root/libssl.so.3",
    "nested": 'mkdir private/below; mount -t overlay overlay -o "lowerdir=$1/image:$1/other" '
    f'private/below; {OVERLAY} "lowerdir=$1/private/below,{UPPER}" private/root',
    "bind mounted": f'{OVERLAY} "lowerdir=$1/image,{UPPER}" private/root; '
    "mount --bind private/root/libssl.so.3 private/root/libssl.so.3",
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    for name in ("image", "private", "other", "older", "l"):
        (tmp_path / name).mkdir()
    (tmp_path / "l" / "AA").symlink_to("../other")
    (tmp_path / "l" / "BB").symlink_to("../image")
    shutil.copy(pipeline.system_libssl(), tmp_path / "image" / "libssl.so.3")
    (tmp_path / "older" / "libssl.so.3").write_bytes(b"an older one")
    return tmp_path


@contextmanager
def container(image: Path, mounted: str) -> Iterator[int]:
    command = ["unshare", "-m", "sh", "-c", CONTAINER, "sh", str(image), sys.executable, mounted]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loaded\n"
        yield process.pid
        process.communicate()


def look(pids: set[int]) -> Targets:
    seen = [process for process in Scan(Files()).look() if process.pid in pids]
    state = inventory.targets("here", 0, (), seen)
    images = tuple(target for target in state.targets if target.name.endswith("/libssl.so.3"))
    return msgspec.structs.replace(state, targets=images)


def opens(target: Target) -> bool:
    """For capture: the path leads to the file whose code was read."""
    with the_same_file(target):
        return True


@pytest.mark.parametrize("mounted", SHARED.values(), ids=SHARED)
def test_two_containers_of_one_image_have_one_target(image: Path, mounted: str) -> None:
    library = image / "image" / "libssl.so.3"
    with ExitStack() as running:
        pids = {running.enter_context(container(image, mounted)) for _ in range(2)}
        state = look(pids)
        assert all(opens(target) for target in state.targets)
    assert {process.pid for process in state.processes} == pids
    assert [Path(target.path).resolve() for target in state.targets] == [library]
    identity = state.targets[0].identity
    assert (identity.device, identity.inode) == (library.stat().st_dev, library.stat().st_ino)
    assert {process.target for process in state.processes} == {identity.key()}


def test_a_copy_that_a_container_has_written_is_its_own(image: Path) -> None:
    """Copied up it has the image's number, size and time, and is another file below."""
    copied = SHARED["plain"] + "; chmod 700 private/root/libssl.so.3"
    with (
        container(image, SHARED["plain"]) as plain,
        container(image, copied) as changed,
    ):
        state = look({plain, changed})
        own = Path(f"/proc/{changed}/root{image}/private/upper/libssl.so.3").stat()
        assert all(opens(target) for target in state.targets)
        target_of = {process.pid: process.target for process in state.processes}
    assert len(state.targets) == 2
    assert target_of[changed] == f"{own.st_dev:x}-{own.st_ino:x}"
    below = (image / "image" / "libssl.so.3").stat()
    assert target_of[plain] == f"{below.st_dev:x}-{below.st_ino:x}"


def test_layers_that_only_a_process_above_can_see_are_found(image: Path) -> None:
    """As in an engine that has a mount namespace of its own."""
    engine = """
        mount -t tmpfs hidden "$1/other"; cp -pr "$1/image" "$1/other"
        export HIDDEN="$1/other"
        exec 3<&0
        for box in a b; do
            mkdir -p "$1/$box/private"
            unshare -m sh -c "$3" sh "$1/$box" "$2" "$4" <&3 &
        done
        wait
    """
    hidden = (
        f'mkdir "$HIDDEN/$$" "$HIDDEN/$$.work"; {OVERLAY} "lowerdir=$HIDDEN/image,'
        'upperdir=$HIDDEN/$$,workdir=$HIDDEN/$$.work" private/root; umount --lazy "$HIDDEN"'
    )
    arguments = [str(image), sys.executable, CONTAINER, hidden]
    command = ["unshare", "-m", "sh", "-c", engine, "sh", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline() for _ in range(2)] == [b"loaded\n"] * 2
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            pids = set(map(int, children.split()))
            state = look(pids)
            below = Path(f"/proc/{process.pid}/root{image}/other/image/libssl.so.3").stat()
            assert all(opens(target) for target in state.targets)
        finally:
            process.communicate()
    assert [t.identity.key() for t in state.targets] == [f"{below.st_dev:x}-{below.st_ino:x}"]
    assert {p.pid for p in state.processes} == pids
