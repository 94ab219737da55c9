"""The C headers and their Python mirrors agree: sizes and offsets as gcc sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from services.capture import layout
from services.capture.parent import shedding
from services.messages import KERNEL_LOSS_REASONS
from services.records import MAX_PAYLOAD, RECORD, RECORD_SIZE

BPF = Path(__file__).parents[3] / "services" / "capture" / "bpf"

PROGRAM = """
#include <stdio.h>
#include <stddef.h>
#include <linux/types.h>
#include "shared.h"
#define SIZE(type) printf("%s %zu\\n", #type, sizeof(struct type));
#define AT(type, field) printf("%s.%s %zu\\n", #type, #field, offsetof(struct type, field));
#define IS(name) printf("%s %llu\\n", #name, (unsigned long long)(name));
int main(void) {
    SIZE(record) AT(record, length) AT(record, shard) AT(record, direction) AT(record, flags)
    AT(record, connection) AT(record, offset) AT(record, boot_ns) AT(record, lost)
    SIZE(ring) AT(ring, head) AT(ring, committed) AT(ring, wrap) AT(ring, discarded)
    AT(ring, seen_bytes) AT(ring, seen_records) AT(ring, submitted_bytes) AT(ring, connections)
    AT(ring, lost) AT(ring, tail)
    SIZE(shared) AT(shared, waiting) AT(shared, calls_refused)
    AT(shared, connections_refused) AT(shared, control_refused) AT(shared, tails_refused)
    AT(shared, connections_shed) AT(shared, wire_refused)
    AT(shared, calls_filtered) AT(shared, calls_unmatched) AT(shared, births_refused)
    AT(shared, names_refused) AT(shared, calls_late) AT(shared, late_bytes)
    AT(shared, withheld) AT(shared, taken)
    SIZE(control) AT(control, kind) AT(control, detail) AT(control, shard) AT(control, tgid)
    AT(control, connection) AT(control, boot_ns) AT(control, ssl) AT(control, target)
    AT(control, process) AT(control, offset) AT(control, lost)
    SIZE(kernel_layout) SIZE(addresses) AT(control, addresses)
    SIZE(connection_key) SIZE(connection) AT(connection, offset) AT(connection, lost)
    AT(connection, shard) AT(connection, references) AT(connection, target)
    SIZE(tail) AT(tail, shard)
    SIZE(wire_event) AT(wire_event, flags) AT(wire_event, window) AT(wire_event, process)
    IS(WIRE_RECEIVED) IS(WIRE_SOCKET) IS(WIRE_HELLO) IS(WIRE_QUIC) IS(WIRE_USED)
    IS(PIECE) IS(FLAG_DISCARDED) IS(FLAG_CANARY) IS(WHOLE) IS(CLASSES) IS(VERDICT_MASK)
    IS(GENERATION_MASK)
    IS(VERDICT_INCLUDE) IS(VERDICT_EXCLUDE) IS(VERDICT_CANARY) IS(CLOSED_SHED)
    IS(OPENED_MID_CONNECTION) IS(OPENED_SHED)
    IS(CONTROL_BELL) IS(CONTROL_OPENED) IS(CONTROL_ADDRESSED) IS(CONTROL_CLOSED) IS(CONTROL_EXITED)
    IS(CLOSED_FREED) IS(CLOSED_REUSED) IS(LOST_REASONS) IS(LOST_RING_FULL) IS(LOST_RING_REFUSED)
    IS(LOST_UNREADABLE) IS(LOST_SHED) IS(LOST_SENT_BY_KERNEL)
    IS(DIRECTION_EGRESS) IS(DIRECTION_INGRESS)
    return 0;
}
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    folder = tmp_path_factory.mktemp("layout")
    (folder / "layout.c").write_text(PROGRAM)
    program = folder / "layout"
    subprocess.run(
        ["gcc", f"-I{BPF}", "-o", str(program), str(folder / "layout.c")], check=True, timeout=60
    )
    lines = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.split() for line in lines.splitlines())}


def test_a_record_header_is_the_same_in_c_and_python(c: dict[str, int]) -> None:
    assert c["record"] == RECORD_SIZE
    packed = RECORD.pack(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    fields = {
        "length": (1, 4), "shard": (2, 2), "direction": (3, 1), "flags": (4, 1),
        "connection": (5, 8), "offset": (6, 8), "boot_ns": (7, 8), "lost": (8, 4),
    }  # fmt: skip
    for name, (value, size) in fields.items():
        at = c[f"record.{name}"]
        assert int.from_bytes(packed[at : at + size], "little") == value, name


def test_the_loss_reasons_are_in_the_contract_s_order(c: dict[str, int]) -> None:
    assert c["LOST_REASONS"] == len(KERNEL_LOSS_REASONS)
    for number, name in enumerate(KERNEL_LOSS_REASONS):
        assert c[f"LOST_{name.upper()}"] == number


def test_a_ring_s_words_are_where_the_reader_looks(c: dict[str, int]) -> None:
    assert c["ring"] == layout.RING_HEADER
    words = {
        "head": layout.HEAD, "committed": layout.COMMITTED, "wrap": layout.WRAP,
        "discarded": layout.DISCARDED, "seen_bytes": layout.SEEN_BYTES,
        "seen_records": layout.SEEN_RECORDS, "submitted_bytes": layout.SUBMITTED_BYTES,
        "connections": layout.CONNECTIONS, "lost": layout.LOST, "tail": layout.TAIL,
    }  # fmt: skip
    assert {name: c[f"ring.{name}"] for name in words} == {n: 8 * w for n, w in words.items()}


def test_the_shared_page_s_counters_are_in_order(c: dict[str, int]) -> None:
    assert c["shared"] == layout.SHARED_SIZE
    assert c["shared.waiting"] == 8 * layout.WAITING
    for number, name in enumerate(layout.SHARED_COUNTERS):
        assert c[f"shared.{name}"] == 8 * (number + 1)
    assert c["shared.withheld"] == 8 * layout.WITHHELD
    assert c["shared.taken"] == 8 * layout.TAKEN


def test_control_events_and_entries_have_their_sizes(c: dict[str, int]) -> None:
    assert c["control"] == layout.CONTROL.size
    assert c["control.target"] == c["control.offset"] == layout.CONTROL.size - 56
    assert c["control.process"] == c["control.target"] + 8
    assert c["control.lost"] == c["control.offset"] + 16
    assert c["kernel_layout"] == layout.KERNEL_LAYOUT.size
    assert c["addresses"] == layout.ADDRESSES.size
    assert c["control.addresses"] == c["control.target"]
    assert c["connection_key"] == layout.CONNECTION_KEY.size
    assert c["connection"] == layout.CONNECTION.size
    assert c["connection.offset"] == 16
    assert c["connection.lost"] == 32
    assert c["tail"] == layout.TAIL_VALUE.size


def test_what_is_told_of_the_wire_is_the_same_in_c_and_python(c: dict[str, int]) -> None:
    assert c["wire_event"] == layout.WIRE_EVENT.size
    packed = layout.WIRE_EVENT.pack(1, 2, 3, 4, 5, 6, b"seven")
    assert packed[c["wire_event.flags"]] == 3
    assert packed[c["wire_event.window"]] == 6
    assert packed[c["wire_event.process"] :].startswith(b"seven")
    for name in ("RECEIVED", "SOCKET", "HELLO", "QUIC", "USED"):
        assert c[f"WIRE_{name}"] == getattr(layout, f"WIRE_{name}")


def test_the_constants_agree(c: dict[str, int]) -> None:
    assert c["PIECE"] == layout.PIECE == MAX_PAYLOAD
    assert c["FLAG_DISCARDED"] == layout.FLAG_DISCARDED
    assert c["FLAG_CANARY"] == layout.FLAG_CANARY
    assert (c["WHOLE"], c["CLASSES"]) == (shedding.WHOLE, layout.CLASSES)
    assert (c["OPENED_MID_CONNECTION"], c["OPENED_SHED"]) == (
        layout.OPENED_MID_CONNECTION,
        layout.OPENED_SHED,
    )
    assert c["VERDICT_MASK"] == layout.VERDICT_MASK
    assert c["GENERATION_MASK"] == layout.GENERATION_MASK
    for kind in layout.ControlKind:
        assert c[f"CONTROL_{kind.name}"] == kind
    for number, reason in enumerate(layout.CLOSE_REASONS):
        assert c[f"CLOSED_{reason.upper()}"] == number
    for verdict in list(layout.Verdict)[1:]:
        assert c[f"VERDICT_{verdict.name}"] == verdict
