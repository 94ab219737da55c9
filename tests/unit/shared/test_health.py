"""What /livez, /readyz and /metrics say. The socket is covered by the service's own tests."""

from __future__ import annotations

from services.health import Health


def test_a_service_without_problems_is_ready() -> None:
    health = Health("plainwire_parse")
    health.check("nats", lambda: None)
    assert health.respond("/readyz") == (200, "text/plain", b"ok\n")
    assert health.respond("/livez")[0] == 200


def test_readiness_names_what_is_not_ready() -> None:
    health = Health("plainwire_parse")
    health.check("nats", lambda: "not connected")
    health.check("kernel", lambda: None)
    assert health.respond("/readyz") == (503, "text/plain", b"nats: not connected\n")
    assert health.respond("/livez")[0] == 200


def test_counters_are_metrics_and_reasons_are_labels() -> None:
    counters = {"bytes_seen": 7, "bytes_gaps{reason=ring_full}": 3}
    health = Health("plainwire_parse", counters=lambda: counters)
    text = health.metrics().decode()
    assert "\nplainwire_parse_ready 1.0\n" in text
    assert "\nplainwire_parse_bytes_seen 7.0\n" in text
    assert '\nplainwire_parse_bytes_gaps{reason="ring_full"} 3.0\n' in text


def test_other_paths_say_which_there_are() -> None:
    status, _, content = Health("plainwire_parse").respond("/")
    assert status == 404
    assert b"/metrics" in content
