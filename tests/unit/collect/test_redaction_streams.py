"""Secrets whose name and value stand in different parts, and what waits for the next part.

For any cut: test_parting_properties.
"""

from __future__ import annotations

import pytest

from services.collect.redaction_streams import Veil, learn, lose, resume, show

WAIT = 512
JSON = "application/json"


def parts(*pieces: bytes, media: str = JSON) -> list[bytes]:
    """Shown of each, the last of all without waiting."""
    veil, out, held = Veil(), [], b""
    for number, piece in enumerate(pieces, 1):
        learn(veil, held + piece, media)
        shown, held = show(veil, held + piece, WAIT if number < len(pieces) else 0, [])
        out.append(shown)
    return out


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ((b'{"password":"hun', b'ter2"}'), [b'{"password":', b'"*REDACTED*"}']),
        ((b'{"pass', b'word":"hunter2"}'), [b"{", b'"password":"*REDACTED*"}']),
        ((b'{"password"', b':"hunter2"}'), [b"{", b'"password":"*REDACTED*"}']),
        ((b'{"password":', b' "hunter2"}'), [b'{"password":', b' "*REDACTED*"}']),
        ((b'{"token":12', b"34}"), [b'{"token":"*REDACTED*"', b'"*REDACTED*"}']),
        (
            (b'{"token":{"a":"b","c"', b':["hunter2"]},"d":"e"}'),
            [b'{"token":{"a":"*REDACTED*",', b'"c":["*REDACTED*"]},"d":"e"}'],
        ),
        (
            (b'{"token":"' + b"hunter2" * 50, b'hunter2"}'),
            [b'{"token":"*REDACTED*', b'*REDACTED*"}'],
        ),
        (
            (b'{"token":"' + b"hunter2" * 50 + b"\\", b'"hunter2"}'),
            [b'{"token":"*REDACTED*', b'*REDACTED*"}'],
        ),
        (
            (b'{"a":"' + b"x" * 300, b'","t\\u006fken":"hunter2"}'),
            [b'{"a":"' + b"x" * 300, b'","t\\u006fken":"*REDACTED*"}'],
        ),
    ],
)
def test_a_value_is_known_by_the_name_that_came_before(
    pieces: tuple[bytes, ...], shown: list[bytes]
) -> None:
    assert parts(*pieces) == shown


def test_a_value_over_many_parts_stays_secret() -> None:
    middle = [b"hunter2" * 60] * 5
    found = b"".join(parts(b'{"password":"', *middle, b'","name":"apple"}'))
    assert b"hunter2" not in found
    assert found.endswith(b'","name":"apple"}')


def test_what_is_no_secret_stays_byte_for_byte() -> None:
    pieces = [b'{"name":"app', b'le","n":1', b'2,"a\\"b":[', b'{"c"', b":null}]}"]
    assert b"".join(parts(*pieces)) == b"".join(pieces)


def test_a_character_is_not_cut() -> None:
    data = "é中😀".encode()
    for cut in range(len(data)):
        assert parts(data[:cut], data[cut:], media="text/plain")[0].decode() in "é中😀"


def test_bytes_that_are_no_text_hold_nothing_up() -> None:
    assert parts(b"\xff\xfe\x80\x80", b"", media="image/png") == [b"\xff\xfe\x80\x80", b""]


def test_an_event_stream_holds_json_in_its_lines() -> None:
    events = b'data: {"password":"hun', b'ter2"}\n\ndata: 5" long\n\ndata: {"token":"x"}\n\n'
    assert b"".join(parts(*events, media="text/event-stream")) == (
        b'data: {"password":"*REDACTED*"}\n\ndata: 5" long\n\ndata: {"token":"*REDACTED*"}\n\n'
    )


def test_a_form_waits_for_its_pair() -> None:
    media = "application/x-www-form-urlencoded"
    assert parts(b"a=b&pass", b"word=hunter2&c=d", media=media) == [
        b"a=b&",
        b"password=*REDACTED*&c=d",
    ]
    long = parts(b"a=b&password=" + b"h" * 2000, b"unter2", b"2&c=d", media=media)
    assert long == [b"a=b&password=*REDACTED*", b"*REDACTED*", b"*REDACTED*&c=d"]


@pytest.mark.parametrize(
    ("media", "data", "begins"),
    [
        (JSON, b'ter2"}\n{"a":1}', 7),
        (JSON, b'ter2",\n  "b": "hunter2"', None),
        ("text/event-stream", b'ter2"}\n\ndata: 1', 8),
        ("text/event-stream", b'ter2"}\r\n\r\ndata: 1', 10),
        ("text/event-stream", b'ter2"}\ndata: 1', None),
        ("application/x-www-form-urlencoded", b"ter2&a=b", None),
    ],
)
def test_behind_a_hole_nothing_is_shown_until_no_value_can_go_on(
    media: str, data: bytes, begins: int | None
) -> None:
    for cut in range(len(data)):
        veil = Veil()
        lose(veil, media)
        assert veil.blind
        first = resume(veil, data[:cut])
        found = first if first is not None else resume(veil, data[cut:])
        if found is not None and first is None:
            found += cut
        assert found == begins
        assert veil.blind == (begins is None)


def test_what_has_no_secrets_goes_on_behind_a_hole() -> None:
    veil = Veil()
    lose(veil, "image/png")
    assert not veil.blind
