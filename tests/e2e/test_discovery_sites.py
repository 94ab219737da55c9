"""The sites that discovery chooses see every call once at its entry and once at its exit.

Real libssl, real kernel, counting probes. Not covered: what capture reads there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter as Tally
from pathlib import Path

import pytest

from services.discovery import inventory
from services.discovery.files import Files
from services.discovery.processes import standing
from services.discovery.system import SystemLibraries
from services.messages import Target
from tests.support.uprobes import counting

CALLS = 1009
USUAL = ("SSL_read", "SSL_write")

# Every call fails at once, in the function that does the work: the object has no role yet.
FAILING = f"""
import ctypes
ssl = ctypes.CDLL("libssl.so.3")
for name in ("TLS_method", "SSL_CTX_new", "SSL_new"):
    getattr(ssl, name).restype = ctypes.c_void_p
context = ssl.SSL_CTX_new(ctypes.c_void_p(ssl.TLS_method()))
made = ctypes.c_void_p(ssl.SSL_new(ctypes.c_void_p(context)))
buffer, length = ctypes.create_string_buffer(16), ctypes.c_size_t()
for call in range({CALLS}):
    ssl.SSL_read(made, buffer, 16)
    ssl.SSL_read_ex(made, buffer, ctypes.c_size_t(16), ctypes.byref(length))
    ssl.SSL_write(made, buffer, 16)
    ssl.SSL_write_ex(made, buffer, ctypes.c_size_t(16), ctypes.byref(length))
ssl.SSL_free(made)
"""

# Two ends in one process, on several threads; each says how many calls it made.
TALKING = f"""
import ssl, sys, threading
def ends(certificate):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); server.load_cert_chain(certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False; client.verify_mode = ssl.CERT_NONE
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    return client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
def shake(pair):
    waiting = list(pair)
    while waiting:
        for end in list(waiting):
            try: end.do_handshake(); waiting.remove(end)
            except ssl.SSLWantReadError: pass
def talk(reads, writes):
    client, server = ends(sys.argv[1]); shake((client, server))
    for call in range({CALLS}):
        client.write(b"x" * (call + 1)); writes.append(1)
        left = call + 1
        while left:
            left -= len(server.read(1 << 14)); reads.append(1)
        try: reads.append(1); server.read(1)
        except ssl.SSLWantReadError: pass
reads, writes = [], []
threads = [threading.Thread(target=talk, args=(reads, writes)) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(len(reads), len(writes))
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A copy of the host's libssl, so that nobody else's calls are counted."""
    found = [path for path in SystemLibraries().tls_paths() if path.endswith("libssl.so.3")]
    if not found:
        pytest.skip("no libssl.so.3 on this host")
    copy = tmp_path_factory.mktemp("library") / "libssl.so.3"
    shutil.copy(found[0], copy)
    return inventory.targets("here", 0, standing(Files(), [str(copy)]), ()).targets[0]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    command = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "1",
    ]
    subprocess.run(
        ["openssl", *command, "-keyout", path, "-out", path.with_suffix(".crt")],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def hits(target: Target, *command: str) -> tuple[Tally[tuple[str, str]], str]:
    """Hits by operation and event while the command runs, and what it printed."""
    environment = {**os.environ, "LD_LIBRARY_PATH": os.path.dirname(target.path)}
    with counting(target.path, target.sites) as counters:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60, env=environment
        )
        tally: Tally[tuple[str, str]] = Tally()
        for site, counter in zip(target.sites, counters, strict=True):
            tally[site.operation, site.event] += counter.hits()
    return tally, done.stdout


def test_calls_that_fail_are_seen_once_at_entry_and_exit(target: Target) -> None:
    tally, _ = hits(target, sys.executable, "-c", FAILING)
    assert tally["read", "enter"] == tally["read", "exit"] == 2 * CALLS
    assert tally["write", "enter"] == tally["write", "exit"] == 2 * CALLS
    assert tally["new", "exit"] == tally["free", "enter"] == 1


def test_calls_on_several_threads_are_seen_once_at_entry_and_exit(
    target: Target, certificate: Path
) -> None:
    tally, printed = hits(target, sys.executable, "-c", TALKING, str(certificate))
    reads, writes = map(int, printed.split())
    assert tally["read", "enter"] == tally["read", "exit"] == reads
    assert tally["write", "enter"] == tally["write", "exit"] == writes


def test_a_transfer_needs_two_cheap_traps_or_the_target_says_why(target: Target) -> None:
    transfers = [site for site in target.sites if site.operation in ("read", "write")]
    usual = [site for site in transfers if site.function.startswith(USUAL)]
    assert len(usual) >= 4  # a pair a family, or a pair a function, or all RETs
    assert all(site.cost == "emulated" or site.fallback for site in transfers)


def test_a_site_is_where_the_file_has_that_byte(target: Target) -> None:
    """The kernel takes file offsets, people and bcc take addresses: both name one byte."""
    dump = subprocess.run(
        ["readelf", "-lW", target.path], capture_output=True, text=True, check=True
    )
    loads = [line.split() for line in dump.stdout.splitlines() if line.split()[:1] == ["LOAD"]]
    code = next(row for row in loads if "E" in "".join(row[6:8]))
    shift = int(code[2], 16) - int(code[1], 16)
    assert all(site.address - site.offset == shift for site in target.sites)
