"""What this host has: each fact is read, tried or asked for here, and judged elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from services import linux
from services.cli import embedded, permission
from services.cli.checks import Facts
from services.cli.namespace import TRACEFS
from services.discovery.libraries import is_tls_library

_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO


def gather() -> Facts:
    """Everything but the bus."""
    server = embedded.find()
    return Facts(
        capabilities=permission.effective(),
        root=os.geteuid() == 0,
        kernel=platform.release(),
        machine=platform.machine(),
        btf=Path("/sys/kernel/btf/vmlinux").exists(),
        bcc=_bcc(),
        python=sys.executable,
        headers=_headers(),
        tracefs=_tracefs(),
        uprobes=Path("/sys/bus/event_source/devices/uprobe/type").exists(),
        nats_server=server,
        nats_version=_version_of(server) if server else "",
        first_pid_namespace=_first_pid_namespace(),
        lockdown=_lockdown(),
        tls_libraries=_tls_libraries(),
    )


def _tls_libraries() -> tuple[str, ...]:
    """Of the system's: links and what they lead to, as they are installed."""
    found = (
        path
        for name in ("libssl.so.*", "libgnutls.so.*")
        for path in Path("/usr/lib").glob(f"**/{name}")
    )
    return tuple(sorted(str(path) for path in found if is_tls_library(str(path))))


def _bcc() -> str:
    """PyPI's `bcc` is another project and has no BPF."""
    try:
        import bcc
    except ImportError as error:
        return f"not importable in {sys.executable} ({type(error).__name__})"
    return "" if hasattr(bcc, "BPF") else f"{bcc.__file__} is PyPI's package of that name"


def _headers() -> str:
    from services.capture.child import headers

    with tempfile.TemporaryDirectory(prefix="plainwire-") as directory:
        try:
            found = headers.find(dict(os.environ), Path(directory, "headers"))
        except OSError:
            return "none found"
        if found is not None and not (found / "include").is_dir():
            return f"BCC_KERNEL_SOURCE names {found}, which has no include directory"
    return ""


def _tracefs() -> Literal["mounted", "mountable", "absent"]:
    if (TRACEFS / "events").is_dir():
        return "mounted"
    return "mountable" if _tracefs_can_be_mounted() else "absent"


def _tracefs_can_be_mounted() -> bool:
    """Tried in a child with its own mount namespace, which leaves nothing behind."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            linux.private_mounts()
            linux.mount("tracefs", str(TRACEFS), "tracefs", 0, "")
            status = 0 if (TRACEFS / "events").is_dir() else 1
        except OSError:
            pass
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def _version_of(server: str) -> str:
    try:
        answer = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip().rpartition("v")[2]


def _first_pid_namespace() -> bool:
    try:
        return os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
    except OSError:
        return True


def _lockdown() -> str:
    try:
        text = Path("/sys/kernel/security/lockdown").read_text()
    except OSError:
        return ""
    return text.partition("[")[2].partition("]")[0]
