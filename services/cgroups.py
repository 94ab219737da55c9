"""Which container a process is in, by the text of its /proc/<pid>/cgroup. Pure.

Knows the names that container engines give to cgroups, under cgroup v1, v2 and both, seen from
whichever cgroup namespace: paths are searched, never anchored.
"""

from __future__ import annotations

import re

# Kubernetes' own: what follows the last pod is the container, and deeper ones are its own business.
_POD = re.compile(
    r"pod(?:[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])"
)
# docker, containerd, CRI-O, podman; not the monitor that podman and CRI-O put beside a container.
_ID = re.compile(r"(?<![0-9a-f])(?<!conmon-)([0-9a-f]{64})(?![0-9a-f])")
# Names that are no hash: systemd-nspawn, LXC, containerd's `ctr`, ECS.
_NAMED = (
    re.compile(r"/machine-([^/]+)\.scope(?=/|$)"),
    re.compile(r"/systemd-nspawn@([^/]+)\.service(?=/|$)"),
    re.compile(r"/lxc(?:\.payload)?[./]([^/]+)(?=/|$)"),
    re.compile(r"/ecs/[0-9a-f]{32}/([0-9a-f]{32}-\d+)(?=/|$)"),
    re.compile(r"^(?:/\.\.)*/(?:k8s\.io|default)/([^/]+)$"),
)
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_NO_CONTAINER = ("qemu-", "lxc-")  # machines of libvirt's


def container(text: str) -> str:
    """Its id, or empty: in none that is known. Version 2 is asked first."""
    lines = [line.split(":", 2) for line in text.splitlines()]
    paths = [(fields[0] == "0", fields[2]) for fields in lines if len(fields) == 3]
    names = (of_path(path) for _, path in sorted(paths, reverse=True))
    return next(filter(None, names), "")


def older(text: str) -> str:
    """What of it is version 1's; nothing where there is only version 2."""
    return "".join(line for line in text.splitlines(True) if not line.startswith("0::"))


def of_path(path: str) -> str:
    """By a single path, of whichever version."""
    pods = list(_POD.finditer(path))
    if pods:
        within = _ID.search(path, pods[-1].end())
        return within[1] if within else ""
    identities = _ID.findall(path)
    if identities:
        return str(identities[-1])
    for form in _NAMED:
        if found := form.search(path):
            name = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), found[1])
            return "" if name.startswith(_NO_CONTAINER) else name
    return ""
