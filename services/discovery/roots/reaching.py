"""From what a process has mapped to a path that opens the same file from the host.

A host path lasts longest; below overlayfs it is the path in the layer that has the file. Every path
is checked to lead to the very inode that is mapped: another file may have taken its name.
"""

from __future__ import annotations

import os

from services import procfs
from services.discovery.roots import layers


def path_of(pid: int, mapping: procfs.Mapping) -> str:
    """The most lasting path that opens the very file that is mapped."""
    found = _path_of(pid, mapping)
    return found if _is_tellable(found) else procfs.map_file(pid, mapping)


def _path_of(pid: int, mapping: procfs.Mapping) -> str:
    inside, itself = procfs.in_root(pid, mapping.path), procfs.map_file(pid, mapping)
    status = None if mapping.deleted else _stat(inside)
    if status is None or not _is_mapped(status, _stat(itself), mapping.inode):
        return _below(pid, mapping) or itself
    on_host = _stat(mapping.path)
    if on_host is not None and os.path.samestat(status, on_host):
        inside = mapping.path
    return _in_layer(pid, mapping.path, status) or inside


def _below(pid: int, mapping: procfs.Mapping) -> str | None:
    status = None if mapping.deleted else _stat(procfs.map_file(pid, mapping))
    if status is None or os.major(status.st_dev) != 0:
        return None
    return layers.real_below(pid, mapping.path, status)


def _is_mapped(found: os.stat_result, itself: os.stat_result | None, inode: int) -> bool:
    """Overlays of overlays show another number in the list of mappings than anywhere else."""
    return found.st_ino == inode if itself is None else os.path.samestat(found, itself)


def executable_of(pid: int) -> str:
    """The most lasting path that opens what the process runs."""
    link = procfs.executable(pid)
    status, name = _stat(link), procfs.link(link)
    if status is None:
        return link
    for path in (name, procfs.in_root(pid, name)):
        found = _stat(path)
        if found is not None and os.path.samestat(status, found):
            lasting = _in_layer(pid, name, status) or path
            return lasting if _is_tellable(lasting) else link
    return link


def _is_tellable(path: str) -> bool:
    return procfs.shown(path) == path


def _in_layer(pid: int, path: str, status: os.stat_result) -> str | None:
    if os.major(status.st_dev) != 0:  # a real device: overlayfs has none
        return None
    return layers.real(pid, path, status)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
