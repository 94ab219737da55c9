"""Where the real file behind an overlayfs path is, by the mount table of the process that sees it.

Two containers of one image map one file under two device numbers, and the kernel probes the file
below. Pure: reads the text of /proc/<pid>/mountinfo; what is in the layers, `layers` looks at.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_OCTAL = re.compile(r"\\([0-7]{3})")
_LAYERS_APART = re.compile(r"(?<!\\):")
MAX_LAYERS = 512  # overlayfs itself allows 500


class Mount(NamedTuple):
    device: str
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


def of_device(mount_table: str, device: str) -> Mount | None:
    """The overlay that files with this device number, as `0:52`, are in."""
    mounts = (m for m in map(_mount, mount_table.splitlines()) if m and m.device == device)
    return next((mount for mount in mounts if mount.kind == "overlay"), None)


def _mount(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    fields, kind = before.split(" "), after.split(" ")
    if len(fields) < 5 or len(kind) < 3:
        return None
    return Mount(fields[2], _plain(fields[3]), _plain(fields[4]), kind[0], kind[2])


def inside(mount: Mount, path: str) -> str | None:
    """The path from the overlay's own root on, without a slash before it."""
    below = _below(mount.point, path)
    if below is None or ".." in below.split("/"):
        return None
    return f"{mount.root.strip('/')}/{below}".lstrip("/")


def layers(mount: Mount) -> list[str]:
    """The upper one first. They may be relative: to where the mounter was then."""
    return _layers(mount.options)[:MAX_LAYERS]


def bases(mount_table: str, mount: Mount) -> list[str]:
    """What relative layers may be relative to: folders above its mount points. An engine whose
    layers are too many for absolute paths mounts from the folder that has them all."""
    points = [
        m.point for m in map(_mount, mount_table.splitlines()) if m and m.device == mount.device
    ]
    found: dict[str, None] = {}
    for point in points:
        while point not in ("", "/"):
            point = point.rpartition("/")[0]
            found[point or "/"] = None
    return list(found)


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
    return [layer for layer in uppers + lowers if layer]


def _plain(text: str) -> str:
    """The kernel writes blanks and backslashes as octal."""
    return _OCTAL.sub(lambda octal: chr(int(octal[1], 8)), text)
