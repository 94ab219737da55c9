"""Which file of an overlay's layers is really mapped, and so the one that the kernel probes.

As the kernel looks: the first layer that has the path, without links; where that holds a file's
metadata only, the next one. Found from here, or by the root of a process that sees the layers: the
process itself or one above it. Size and time must be those that the overlay shows.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from services import procfs
from services.discovery.roots import overlays, rooted
from services.discovery.roots.overlays import Mount

MOST_NESTED = 3
MOST_ABOVE = 16  # processes
_METACOPY = ("trusted.overlay.metacopy", "user.overlay.metacopy")
_REDIRECT = ("trusted.overlay.redirect", "user.overlay.redirect")


class _View(NamedTuple):
    """A process whose mount namespace has the layers, and the path here of its root."""

    pid: int
    root: str


def real(pid: int, path: str, status: os.stat_result, nested: int = 0) -> str | None:
    """A path from here to the file; None where there is no overlay, or its layers aren't found."""
    mount = overlays.overlay(procfs.mount_table(pid), path)
    inside = overlays.inside(mount, path) if mount else None
    if mount is None or inside is None or nested > MOST_NESTED:
        return None
    return _search(pid, mount, inside, status, nested)


def real_below(pid: int, path: str, status: os.stat_result) -> str | None:
    """Likewise where the mapped file is in an overlay's layer that is in an overlay itself: its
    path is then the layer's own."""
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    for view in _views(pid):
        mount = overlays.of_device(procfs.mount_table(view.pid), device)
        if mount is not None and ".." not in path.split("/"):
            return _search(view.pid, mount, path.lstrip("/"), status, 0)
    return None


def _search(pid: int, mount: Mount, inside: str, status: os.stat_result, nested: int) -> str | None:
    for view in _views(pid):
        found = _below(view, mount, inside, status)
        if found is not None:
            return _deepest(view, found, nested)
    return None


def _deepest(view: _View, found: str, nested: int) -> str | None:
    """A layer may be in an overlay itself. What is a path of ours too is best."""
    here = view.root + found
    try:
        status = os.stat(here)
        if os.major(status.st_dev) == 0 and (below := real(view.pid, found, status, nested + 1)):
            return below
        return found if os.path.samestat(os.stat(found), status) else here
    except (OSError, ValueError):
        return here


def _views(pid: int) -> Iterator[_View]:
    """Ours first: a path that needs no process lasts longest."""
    yield _View(os.getpid(), "")
    known = {procfs.link(f"{procfs.PROC}/{os.getpid()}/ns/mnt")}
    for _ in range(MOST_ABOVE):
        namespace = procfs.link(f"{procfs.PROC}/{pid}/ns/mnt")
        if namespace not in known:
            known.add(namespace)
            yield _View(pid, f"{procfs.PROC}/{pid}/root")
        status = procfs.stat(pid)
        if status is None or status.parent <= 1:
            return
        pid = status.parent


def _below(view: _View, mount: Mount, inside: str, wanted: os.stat_result) -> str | None:
    """The path in this view, if it has the file that the overlay shows."""
    is_whole = True
    layers = _absolute(view, mount)
    if not all(os.path.isdir(view.root + layer) for layer in layers):
        return None  # another's file system: what it lacks may be the layer that counts
    for layer in layers:
        try:
            with rooted.opened_in(view.root + layer, inside, rooted.PLAIN) as descriptor:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    return None
                here = f"{procfs.PROC}/self/fd/{descriptor}"
                if _said(here, _METACOPY) is None:
                    same = _is_shown(found, wanted, is_whole)
                    return f"{layer.rstrip('/')}/{inside}" if same else None
                inside, is_whole = _redirected(inside, _said(here, _REDIRECT)), False
        except (OSError, ValueError):
            continue
    return None


def _is_shown(found: os.stat_result, shown: os.stat_result, is_whole: bool) -> bool:
    times = (found.st_mtime_ns, shown.st_mtime_ns)
    return found.st_size == shown.st_size and (times[0] == times[1] or not is_whole)


def _said(path: str, names: tuple[str, ...]) -> bytes | None:
    for name in names:
        try:
            return os.getxattr(path, name)
        except OSError:
            continue
    return None


def _redirected(inside: str, to: bytes | None) -> str:
    """Where the layers below have it: by another name, or at another path."""
    if not to:
        return inside
    name = os.fsdecode(to)
    if name.startswith("/"):
        return name.lstrip("/")
    return f"{inside.rpartition('/')[0]}/{name}".lstrip("/")


def _absolute(view: _View, mount: Mount) -> list[str]:
    layers = overlays.layers(mount)
    if all(layer.startswith("/") for layer in layers):
        return layers
    relative = next(layer for layer in layers if not layer.startswith("/"))
    for base in overlays.bases(procfs.mount_table(view.pid), mount):
        if os.path.isdir(f"{view.root}{base}/{relative}"):
            return [layer if layer.startswith("/") else f"{base}/{layer}" for layer in layers]
    return []
