"""Where the real file behind an overlayfs path is, by the mount table of the process that sees it.

Two containers of one image map one file under two device numbers, and the kernel probes the file
below. Pure: reads the text of /proc/<pid>/mountinfo; whether a candidate is the file, the caller
proves by inode, size and time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OCTAL = re.compile(r"\\([0-7]{3})")
_LAYERS_APART = re.compile(r"(?<!\\):")
MAX_CANDIDATES = 128  # overlayfs itself allows 500 layers; images have tens


class Mount(NamedTuple):
    root: str
    point: str
    kind: str
    options: str


def overlay(mount_table: str, path: str) -> Mount | None:
    """The overlay mount that `path` is in, if it is in one.

    Device numbers don't tell: a file of a layer on another file system has one of its own."""
    around = [m for m in map(_mount, mount_table.splitlines()) if m and _below(m.point, path)]
    nearest = max(reversed(around), key=lambda mount: len(mount.point), default=None)
    return nearest if nearest is not None and nearest.kind == "overlay" else None


def _mount(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if len(fields) < 5 or len(kind) < 3:
        return None
    return Mount(_plain(fields[3]), _plain(fields[4]), kind[0], kind[2])


def candidates(mount: Mount, path: str) -> list[str]:
    """Paths that `path` may really be, the upper layer first; in the mounter's namespace."""
    inside = _below(mount.point, path)
    if inside is None or ".." in inside.split("/"):
        return []
    root = "" if mount.root == "/" else mount.root
    return [f"{layer}{root}/{inside}" for layer in _layers(mount.options)][:MAX_CANDIDATES]


def _below(point: str, path: str) -> str | None:
    if point == "/":
        return path.lstrip("/")
    return path.removeprefix(f"{point}/") if path.startswith(f"{point}/") else None


def _layers(options: str) -> list[str]:
    uppers, lowers = [], []
    for option in options.split(","):
        name, _, value = option.partition("=")
        if name == "upperdir":
            uppers.append(_plain(value))
        elif name == "lowerdir":
            lowers += [_plain(part).replace("\\:", ":") for part in _LAYERS_APART.split(value)]
        elif name in ("lowerdir+", "datadir+"):
            lowers.append(_plain(value))
    return [layer for layer in uppers + lowers if layer.startswith("/")]


def _plain(text: str) -> str:
    """The kernel writes blanks and backslashes as octal."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), text)
