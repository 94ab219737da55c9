"""A place for our files that nobody has to clean up: a tmpfs in a mount namespace of our own. It
vanishes with the last process in it, also after SIGKILL. tracefs is mounted there if it is absent.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from services import linux
from services.cli.errors import PLAINWIRE_FAILED, Failure

TRACEFS = Path("/sys/kernel/tracing")
# The mount hides what is below from our own processes, and from nobody else. So: directories that
# the kernel or every container has, for file systems that hold no program, certificate or settings.
# What follows them may hold such files, which are then not found.
_MOUNT_POINTS = (
    "/sys/fs/pstore",
    "/sys/fs/fuse/connections",
    "/sys/kernel/config",
    "/dev/mqueue",
    "/media",
    "/mnt",
    "/dev/shm",
)
_QUIET = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


def enter() -> Path:
    """From here on our processes have their own mounts. Returns the run directory (mode 0700)."""
    try:
        linux.private_mounts()
        directory = _run_directory()
    except OSError as error:
        raise Failure(_explanation(error), PLAINWIRE_FAILED) from None
    mount_tracefs()
    return directory


def _run_directory() -> Path:
    place = next(filter(os.path.isdir, _MOUNT_POINTS), None)
    if place is None:
        raise FileNotFoundError(errno.ENOENT, f"none of {', '.join(_MOUNT_POINTS)} exists")
    linux.mount("plainwire", place, "tmpfs", _QUIET, "mode=0700,size=2g")
    return Path(place)


def mount_tracefs() -> None:
    """Where it can't be mounted, capture says what is missing."""
    if (TRACEFS / "events").is_dir() or not TRACEFS.is_dir():
        return
    try:
        linux.mount("tracefs", str(TRACEFS), "tracefs", _QUIET, "")
    except OSError:
        return


def _explanation(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "a mount namespace is refused; run as root (CAP_SYS_ADMIN), see `plainwire doctor`"
    return f"no private run directory: {error.strerror}; see `plainwire doctor`"
