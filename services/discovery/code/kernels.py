"""What the kernel's version says of its uretprobes. Pure."""

from __future__ import annotations

import re

# A return through a uretprobe is a system call there, which a strict seccomp filter answers with
# SIGSYS. 6.14 lets it pass; later 6.12.x and 6.13.x do too, but a version says little of patches.
_FIRST_DEADLY, _FIRST_SAFE = (6, 11), (6, 14)


def uretprobes_are_safe(release: str) -> bool:
    """`release` as uname gives it: 6.12.3-amd64."""
    found = re.match(r"(\d+)\.(\d+)", release)
    version = (int(found[1]), int(found[2])) if found else _FIRST_DEADLY
    return not _FIRST_DEADLY <= version < _FIRST_SAFE
