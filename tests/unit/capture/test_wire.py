"""What records on the wire prove of a process."""

from __future__ import annotations

from services.capture import layout
from services.capture.channel import OnWire
from services.capture.child import wire
from services.capture.child.wire import Heard, Owner, Wire

OWNER = Owner(5, "app", "/bin/app")
DATA, HANDSHAKE = 0x17, 0x16


def call(flags: int = 0, kind: int = DATA, pid: int = 7) -> Heard:
    return Heard(pid, 3, flags, kind, 100, "thread")


def hear(found: Wire, *calls: Heard, protocol: str = "TCP", now: float = 1.0) -> list[OnWire]:
    news = (found.receive(one, protocol, OWNER, now) for one in calls)
    return [one for one in news if one is not None]


def test_an_event_is_read_as_the_kernel_wrote_it() -> None:
    event = layout.WIRE_EVENT.pack(7, 3, layout.WIRE_HELLO, HANDSHAKE, 1, 9, b"name")
    assert wire.heard(event) == Heard(7, 3, layout.WIRE_HELLO, HANDSHAKE, 9, "name")


def test_a_greeting_is_proof_and_a_single_record_is_chance() -> None:
    assert hear(Wire(), call()) == []
    (told,) = hear(Wire(), call(layout.WIRE_HELLO, HANDSHAKE))
    assert told == OnWire(pid=7, start_boot_ns=5, process="app", executable="/bin/app", tcp=True)
    assert len(hear(Wire(), call(), call())) == 1


def test_the_same_is_told_once() -> None:
    found = Wire()
    assert len(hear(found, *[call()] * 5)) == 1


def test_files_pipes_and_local_sockets_are_no_network() -> None:
    found = Wire()
    for protocol in ("-", "UNIX-STREAM", "UDP"):
        assert hear(found, call(layout.WIRE_HELLO | layout.WIRE_SOCKET), protocol=protocol) == []
    assert found.unconfirmed == 0


def test_a_descriptor_that_is_gone_is_a_socket_only_by_its_call() -> None:
    found = Wire()
    assert hear(found, call(layout.WIRE_HELLO), protocol="") == []
    assert found.unconfirmed == 1
    assert len(hear(found, call(layout.WIRE_HELLO | layout.WIRE_SOCKET), protocol="")) == 1


def test_a_process_that_has_ended_is_named_by_what_the_kernel_said() -> None:
    told = Wire().receive(call(layout.WIRE_HELLO | layout.WIRE_SOCKET), "", None, 1.0)
    assert told is not None
    assert (told.process, told.start_boot_ns) == ("thread", 0)


def test_quic_is_told_apart_and_is_no_record() -> None:
    quic = call(layout.WIRE_HELLO | layout.WIRE_SOCKET | layout.WIRE_QUIC, 0xC3)
    (told,) = hear(Wire(), quic, protocol="UDPv6")
    assert (told.quic, told.tcp) == (True, False)
    assert hear(Wire(), quic, protocol="TCP") == []


def test_a_library_is_unused_only_after_data_has_gone_for_a_while() -> None:
    found = Wire()
    hear(found, call(), call())
    assert hear(found, call(), now=1.5) == []
    assert not found.is_settled(7, excluded=False)
    (told,) = hear(found, call(), now=2.1)
    assert told.unused
    assert found.is_settled(7, excluded=False)


def test_whoever_uses_a_probed_library_once_is_never_said_not_to() -> None:
    found = Wire()
    hear(found, call(layout.WIRE_USED), call())
    assert found.is_settled(7, excluded=False)
    assert hear(found, call(), now=9.0) == []
    assert not any(told.unused for told in hear(found, call(), now=10.0))


def test_of_whoever_is_excluded_one_sight_is_enough() -> None:
    found = Wire()
    assert not found.is_settled(7, excluded=True)
    hear(found, call(), call())
    assert found.is_settled(7, excluded=True)


def test_a_handshake_alone_proves_no_library_unused() -> None:
    found = Wire()
    hear(found, call(layout.WIRE_HELLO, HANDSHAKE))
    assert hear(found, call(0, HANDSHAKE), now=9.0) == []


def test_a_pid_that_is_used_again_begins_anew() -> None:
    found = Wire()
    hear(found, call(), call())
    told = found.receive(call(layout.WIRE_HELLO), "TCP", Owner(6, "next", ""), 2.0)
    assert told is not None
    assert (told.start_boot_ns, told.process) == (6, "next")


def test_processes_are_bounded_and_those_forgotten_counted() -> None:
    found = Wire()
    hear(found, *(call(pid=pid) for pid in range(1, wire.MAX_PROCESSES + 4)))
    assert found.evicted == 3
