"""Which command lines are Plainwire's own: those that its processes are really started with.

Asked of strangers' processes, which vanish from what is told where the answer is yes. So an
argument somewhere is no sign: it is an interpreter with just our modules, or with our script.
"""

from __future__ import annotations

import os
import re
import sys

MODULES = ("services.cli.main", "services.capture.child.main")
SCRIPT = "plainwire"
# As the script's first line names its interpreter, and as we were started: both are text.
HOMES = frozenset(
    folder
    for one in (os.path.dirname(sys.executable), os.path.join(sys.prefix, "bin"))
    for folder in (one, os.path.realpath(one))
)
_PYTHON = re.compile(r"python(?:[23](?:\.\d+)?)?")
_IS_ALONE = sys.prefix != sys.base_prefix  # a virtual environment's interpreter runs what is in it


def is_own(
    words: tuple[str, ...], homes: frozenset[str] = HOMES, *, is_alone: bool = _IS_ALONE
) -> bool:
    """`homes` are where our script and interpreter lie; `is_alone`: no other program's do."""
    if len(words) < 2 or not _PYTHON.fullmatch(os.path.basename(words[0])):
        return False
    if words[1] == "-m":
        return "".join(words[2:3]) in MODULES
    folder, name = os.path.split(words[1])
    if name != SCRIPT:
        return False
    return folder in homes or (is_alone and os.path.dirname(words[0]) in homes)
