"""No secret survives in a witness, in any encoding of it; doing it twice changes nothing."""

from __future__ import annotations

import base64
import gzip
import json
import time
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.collect import delivery, redaction, redaction_bodies, sensitive
from services.messages import Headers, InterimHead
from tests.unit.collect.transcript import (
    NOON,
    body,
    end,
    only,
    request_head,
    response_head,
    witnessed,
)

# Begins as nothing else does, so that it is part of nothing else by chance.
secrets = st.text(
    st.sampled_from("abcXYZ0189-_.~!/\\\"'&;=?#% é\u4e2d\U0001f600\t"), min_size=9, max_size=40
).map("Zq7".__add__)
names = st.sampled_from(sensitive.NAMES).flatmap(
    lambda name: st.sampled_from([name, name.upper(), name.lower()])
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def _encodings(secret: str) -> list[bytes]:
    raw = secret.encode()
    forms = [
        raw,
        base64.b64encode(raw),
        quote(secret).encode(),
        quote(secret, safe="").encode(),
        quote_plus(secret).encode(),
        json.dumps(secret)[1:-1].encode(),
        msgspec.json.encode(secret)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1].encode(),
        raw.hex().encode(),
    ]
    return [form for form in forms if len(form) >= 12]


@given(secrets, names, json_values, st.booleans(), st.booleans())
def test_no_secret_survives_anywhere_in_a_witness(
    secret: str, name: str, other: object, zipped: bool, form: bool
) -> None:
    in_url = quote(secret, safe="")
    in_header = base64.b64encode(secret.encode()).decode()
    held: Headers = ((name, in_header), ("referer", f"https://u:{in_url}@h/?{name}={in_url}"))
    if form:
        data, kind = f"{quote(name)}={quote_plus(secret)}&a=b".encode(), redaction_bodies._FORM
    else:
        nested = {"outer": other, "in": [{name: [secret, {"deep": secret}]}]}
        data, kind = json.dumps(nested).encode(), "application/json"
    sent = gzip.compress(data) if zipped else data
    said = (*held, ("content-type", kind), *((("content-encoding", "gzip"),) if zipped else ()))
    early = InterimHead(connection=1, time_ns=NOON, stream=1, status=103, headers=held)
    witness = only(
        witnessed(
            request_head(
                headers=said, path=f"/a?{name}={in_url}&b=c", authority=f"me:{in_url}@host:443"
            ),
            body(sent, "request"),
            end("request", len(sent), trailers=held),
            early,
            response_head(headers=said),
            body(sent),
            end("response", len(sent), trailers=held),
        )
    )
    encoded = delivery.encode(witness, 1 << 20)
    for encoding in (*_encodings(secret), in_header.encode()):
        assert encoding not in encoded
    assert witness.redacted.count >= 8


@given(json_values, st.lists(st.tuples(names, json_values), max_size=3))
def test_json_stays_json_and_loses_only_secrets(
    other: object, held: list[tuple[str, object]]
) -> None:
    document = {"other": other, **dict(held)}
    shown = redaction_bodies.body(json.dumps(document).encode(), "application/json", [])
    found = json.loads(shown)
    assert list(found) == list(document)
    assert redaction_bodies.body(shown, "application/json", []) == shown
    if not _has_secret_name(other):
        assert found["other"] == other


def _has_secret_name(value: object) -> bool:
    if isinstance(value, dict):
        return any(sensitive.rule(k) or _has_secret_name(v) for k, v in value.items())
    return isinstance(value, list) and any(map(_has_secret_name, value))


MULTIPART = "multipart/form-data; boundary=X"
KINDS = ["", "text/plain", "application/json", redaction_bodies._FORM, MULTIPART]
ENCODINGS = ["utf-8", "utf-16", "utf-16-le", "utf-16-be"]
prefixes = st.sampled_from(["", "db_", "x-", "my.", "user[", "smtp"])


@given(secrets, prefixes, names, st.sampled_from(KINDS), st.sampled_from(ENCODINGS))
def test_no_secret_survives_in_json_whatever_it_is_called_and_encoded_in(
    secret: str, prefix: str, name: str, kind: str, encoding: str
) -> None:
    called = f"{prefix}{name}"
    assume(sensitive.rule(called))
    data = json.dumps({"a": 1, called: secret, "b": [2]}).encode(encoding)
    if kind == MULTIPART:
        disposition = f'Content-Disposition: form-data; name="{called}"'
        data = f"--X\r\n{disposition}\r\n\r\n{secret}\r\n--X--\r\n".encode()
    shown = redaction_bodies.body(data, kind, [])
    for form in (secret, json.dumps(secret)[1:-1]):
        assert form.encode(encoding).removeprefix(b"\xff\xfe") not in shown


KNOWN = (*sensitive.FRAGMENTS, *sensitive.SHORT)


@given(names, st.sampled_from(["", "a", "db", "prod1"]), st.sampled_from("-_."))
def test_what_a_secrets_name_is_made_of_is_known_by_a_fragment(
    name: str, prefix: str, joint: str
) -> None:
    made = f"{prefix}{joint}{name}" if prefix else name
    rule = sensitive.rule(made)
    assert rule is not None or prefix
    assert rule is None or any(part in made.lower().encode() for part in KNOWN)
    assert rule is None or sensitive.rule(rule) is not None


@given(st.lists(st.sampled_from(["chat", "Bearer", "token.", "eyJ12345.ab.cd", "a b"]), max_size=5))
def test_subprotocols_are_redacted_only_once(pieces: list[str]) -> None:
    said = (("sec-websocket-protocol", ", ".join(pieces)),)
    once = redaction.headers(said, [])
    assert redaction.headers(once, []) == once


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "piece",
    [b'"token', b'"token":"', b"token=", b"pin", b"a=b&", b"--X\r\nname=\r\n", b"{\0", b"name  ",
     b"[", b"\\u0074oken", b"token.", b"password[", b'\r\n--X\r\nA: b; name="token"\r\n\r\nv'],
)  # fmt: skip
def test_the_time_that_hostile_bodies_take_is_bounded(kind: str, piece: bytes) -> None:
    for begin in (b"", b"{", b"--X\r\n", b"a=", b"{\0"):
        data = (begin + piece * 65536)[:65536]
        before = time.process_time()
        redaction_bodies.body(data, kind, [])
        redaction.headers((("sec-websocket-protocol", data.decode("latin-1")),), [])
        assert time.process_time() - before < 3


@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_any_bytes_are_redacted_without_harm_and_only_once(data: bytes, kind: str) -> None:
    once = redaction_bodies.body(data, kind, [])
    assert redaction_bodies.body(once, kind, []) == once


@given(st.text(max_size=60))
def test_targets_are_redacted_only_once(target: str) -> None:
    once = redaction.target(target, [])
    assert redaction.target(once, []) == once


@given(st.text(st.sampled_from("a?&=;#/@:%token"), max_size=30))
def test_targets_of_hostile_letters_are_redacted_only_once(target: str) -> None:
    once = redaction.target(target, [])
    assert redaction.target(once, []) == once


@given(st.text(st.sampled_from('{}[]:,"\\ token1u0'), max_size=40))
def test_hostile_json_is_redacted_only_once(text: str) -> None:
    once = redaction_bodies.body(text.encode(), "application/json", [])
    assert redaction_bodies.body(once, "application/json", []) == once


@given(st.lists(st.tuples(st.one_of(names, st.text(max_size=8), st.none()), st.text(max_size=8))))
def test_headers_keep_their_number_order_and_names(pairs: list) -> None:
    shown = redaction.headers(tuple(pairs), [])
    assert [name for name, _ in shown] == [name for name, _ in pairs]
    assert redaction.headers(shown, []) == shown
