"""A witness's bytes fit the bus, and a witness that had to give says so."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collect import delivery
from services.messages import Headers, Witness
from tests.unit.collect.transcript import (
    end,
    only,
    request,
    response,
    upgraded,
    websocket_message,
    witnessed,
)


def made(asked: bytes = b"", answered: bytes = b"", headers: Headers = ()) -> Witness:
    return only(witnessed(*request(data=asked, headers=headers), *response(data=answered)))


def decoded(payload: bytes) -> Witness:
    return msgspec.json.decode(payload, type=Witness)


def test_what_fits_goes_as_it_is() -> None:
    witness = made(b"hello", b"\xff")
    assert decoded(delivery.encode(witness, 10_000)) == witness


def test_the_larger_body_gives_first() -> None:
    found = decoded(delivery.encode(made(b"a" * 1000, b"b" * 9000), 5000))
    assert found.request is not None
    assert found.response is not None
    assert found.request.body.text == "a" * 1000
    body = found.response.body
    assert 1000 < len(body.text or "") < 5000
    assert (body.size, body.captured) == (9000, len(body.text or ""))
    assert (body.truncated, body.truncated_by) == (True, "cap")


def test_base64_stays_whole() -> None:
    found = decoded(delivery.encode(made(b"\xff" * 9000), 5000))
    assert found.request is not None
    kept = base64.b64decode(found.request.body.base64 or "", validate=True)
    assert len(kept) == found.request.body.captured > 1000


def test_headers_go_where_bodies_are_not_enough() -> None:
    witness = made(b"a" * 500, headers=(("x", "y" * 9000),))
    found = decoded(delivery.encode(witness, 3000))
    assert found.request is not None
    assert (found.request.headers, found.request.method) == ((), "GET")
    assert found.partial_reasons == ("oversize",)


def talked(*data: bytes) -> Witness:
    messages = [websocket_message(d) for d in data]
    return only(witnessed(*upgraded(), *messages, end("response")))


def test_the_longest_messages_give_first() -> None:
    found = decoded(delivery.encode(talked(b"short", b"x" * 9000, b"\xff" * 6000), 6000))
    assert found.websocket is not None
    short, text, binary = found.websocket.messages
    assert (short.text, short.truncated) == ("short", False)
    assert (text.size, text.captured, text.truncated_by) == (9000, len(text.text or ""), "cap")
    kept = base64.b64decode(binary.base64 or "", validate=True)
    assert (len(kept), binary.truncated_by) == (binary.captured, "cap")


def test_too_many_messages_go_and_the_witness_says_so() -> None:
    found = decoded(delivery.encode(talked(*[b""] * 300), 6000))
    assert found.websocket is not None
    assert 5 < len(found.websocket.messages) < 60
    assert found.partial_reasons == ("oversize",)


@pytest.mark.parametrize("most", [0, 100])
def test_what_cannot_fit_ends_all_the_same(most: int) -> None:
    assert len(delivery.encode(made(b"a" * 1000), most)) > most


@given(
    st.binary(max_size=300).map(lambda b: b * 20),
    st.text(max_size=300).map(lambda t: t.encode() * 20),
    st.integers(1500, 20_000),
)
def test_any_bodies_fit(asked: bytes, answered: bytes, most: int) -> None:
    witness = made(asked, answered)
    payload = delivery.encode(witness, most)
    assert len(payload) <= most
    found = decoded(payload)
    assert found.partial_reasons == ()
    assert found.request is not None
    assert found.request.body.size == len(asked)


def test_the_message_id_has_the_part() -> None:
    witness = made()
    assert delivery.message_id(witness) == f"{witness.id}/1"
