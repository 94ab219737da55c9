"""From what a process has mapped to a path that opens the same file from the host.

A host path lasts longest; below overlayfs it is the path in the layer that has the file. Every path
is checked to lead to the very inode that is mapped: another file may have taken its name.
"""

from __future__ import annotations

import os

from services import procfs
from services.discovery import overlays


def path_of(pid: int, mapping: procfs.Mapping) -> str:
    """The most lasting path that opens the very file that is mapped."""
    inside = procfs.in_root(pid, mapping.path)
    status = None if mapping.deleted else _stat(inside)
    if status is None or status.st_ino != mapping.inode:
        return procfs.map_file(pid, mapping)
    on_host = _stat(mapping.path)
    if on_host is not None and os.path.samestat(status, on_host):
        inside = mapping.path
    return _in_layer(pid, mapping.path, status) or inside


def executable_of(pid: int) -> str:
    """The most lasting path that opens what the process runs."""
    link = procfs.executable(pid)
    status, name = _stat(link), procfs.link(link)
    if status is None:
        return link
    for path in (name, procfs.in_root(pid, name)):
        found = _stat(path)
        if found is not None and os.path.samestat(status, found):
            return _in_layer(pid, name, status) or path
    return link


def _in_layer(pid: int, path: str, status: os.stat_result) -> str | None:
    if os.major(status.st_dev) != 0:  # a real device: overlayfs has none
        return None
    mount = overlays.overlay(procfs.mount_table(pid), path)
    found = overlays.candidates(mount, path) if mount else []
    return next((layer for layer in found if _same_file(_stat(layer), status)), None)


def _same_file(found: os.stat_result | None, wanted: os.stat_result) -> bool:
    return found is not None and (found.st_ino, found.st_size, found.st_mtime_ns) == (
        wanted.st_ino,
        wanted.st_size,
        wanted.st_mtime_ns,
    )


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
