"""What discovery says of a scan. Not: scanning, nor when it is said."""

from __future__ import annotations

import msgspec

from services.discovery.scanning import Discovery
from services.discovery.settings import Settings
from services.messages import Targets, TlsProcess

STATE = Targets(
    node="n",
    time_ns=1,
    targets=(),
    processes=tuple(TlsProcess(pid=n, start_boot_ns=n, process="p") for n in range(100)),
)


def test_processes_that_find_no_room_in_a_message_are_counted() -> None:
    discovery = Discovery(Settings(node="n"), max_payload=1000)
    message = discovery.message(STATE)
    told = msgspec.json.decode(message, type=Targets)
    assert len(message) <= 1000
    assert len(told.processes) > 0
    assert discovery.counters["processes_untold"] == 100 - len(told.processes)
