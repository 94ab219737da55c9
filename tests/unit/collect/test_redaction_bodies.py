"""Secrets in JSON and form bodies: their values go, every other byte stays."""

from __future__ import annotations

import pytest

from services.collect.redaction_bodies import body

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/json"


def wide(text: str) -> bytes:
    return text.encode("utf-16-le")


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"password": "p"}', b'{"password": "*REDACTED*"}'),
        (b'{"a":1 , "Token":\t123.5e3,"b":[ 1 ]}', b'{"a":1 , "Token":\t"*REDACTED*","b":[ 1 ]}'),
        (b'{"token":true,"auth":null}', b'{"token":"*REDACTED*","auth":null}'),
        (b'{"a":{"b":[{"api_key":"x"}]}}', b'{"a":{"b":[{"api_key":"*REDACTED*"}]}}'),
        (
            b'{"auth":{"user":"u","list":[1,"b",{"c":null}]},"d":"e"}',
            b'{"auth":{"user":"*REDACTED*","list":["*REDACTED*","*REDACTED*",{"c":null}]},"d":"e"}',
        ),
        (b'{"\\u0074oken":"x"}', b'{"\\u0074oken":"*REDACTED*"}'),
        (b'{"token":"a\\"b\\\\","c":"d"}', b'{"token":"*REDACTED*","c":"d"}'),
        (b'{"token":"x","token":"y"}', b'{"token":"*REDACTED*","token":"*REDACTED*"}'),
        (b'{"a":"token","b":"c"}', b'{"a":"token","b":"c"}'),
        (b'["token","x"]', b'["token","x"]'),
        (b'\xef\xbb\xbf{"token":"x"}', b'\xef\xbb\xbf{"token":"*REDACTED*"}'),
        (b'{"token":"cut off he', b'{"token":"*REDACTED*'),
        (b'{"token":"cut \\', b'{"token":"*REDACTED*'),
        (b'{"token": 12', b'{"token": "*REDACTED*"'),
        (b'{"token": {"a": "b', b'{"token": {"a": "*REDACTED*'),
        (b'{"token": ', b'{"token": '),
        (b'{"token"', b'{"token"'),
        (b'{"token": }', b'{"token": }'),
        (b'{"a":1}\n{"token":"x"}\n', b'{"a":1}\n{"token":"*REDACTED*"}\n'),
        (b'{"token":"\xff\xfe"}', b'{"token":"*REDACTED*"}'),
    ],
)
def test_values_of_secret_names_in_json_go(data: bytes, shown: bytes) -> None:
    found: list[str] = []
    assert body(data, JSON, found) == shown
    assert len(found) == shown.count(b"*REDACTED*")
    assert body(shown, JSON, []) == shown


def test_json_needs_no_media_type() -> None:
    assert body(b' {"token":"x"}', "", []) == b' {"token":"*REDACTED*"}'


def test_other_media_types_stay() -> None:
    text = b'they said "token": "x"'
    assert body(text, "text/plain", []) is text


def test_forms_lose_the_values_of_secret_names() -> None:
    found: list[str] = []
    data = b"user=me&password=p%20w&user[token]=t&caf\xe9=1&pass%77ord=x"
    assert body(data, FORM, found) == (
        b"user=me&password=*REDACTED*&user[token]=*REDACTED*&caf\xe9=1&pass%77ord=*REDACTED*"
    )
    assert found == ["body.password", "body.token", "body.password"]


@pytest.mark.parametrize(
    ("data", "media", "shown"),
    [
        (b'{"password":"x"}', FORM, b'{"password":"*REDACTED*"}'),
        (b"a=b&password=x", "", b"a=b&password=*REDACTED*"),
        (b"a=b&password=x\n", "text/plain; charset=utf-8", b"a=b&password=*REDACTED*"),
        (b"said password=x and more", "text/plain", b"said password=x and more"),
        (wide('[{"token":"é"}]'), JSON, wide('[{"token":"*REDACTED*"}]')),
        (wide('\ufeff{"a":"é"}'), JSON, wide('\ufeff{"a":"é"}')),
        (wide('{"token":"é"}')[:-5], JSON, wide('{"token":"*REDACTED*')),
    ],
    ids=["JSON as a form", "form", "form as text", "prose", "UTF-16", "no secret", "cut"],
)  # fmt: skip
def test_what_is_not_what_it_is_called_is_redacted_all_the_same(
    data: bytes, media: str, shown: bytes
) -> None:
    assert body(data, media, []) == shown


PARTS = (
    b'--X\r\nContent-Disposition: form-data; name="user"\r\n\r\nme--X\r\n'
    b'--X\r\nContent-Disposition: form-data; filename="a"; name=db_password\r\n\r\nhun\r\nter2\r\n'
    b'--X\r\nContent-Disposition: form-data; name="meta"; filename="token"\r\n\r\n'
    b'{"pin":1}\r\n--X--\r\n'
)


def test_parts_lose_the_values_of_secret_names() -> None:
    found: list[str] = []
    shown = body(PARTS, "multipart/form-data; boundary=X", found)
    assert shown == PARTS.replace(b"hun\r\nter2", b"*REDACTED*").replace(
        b'"pin":1', b'"pin":"*REDACTED*"'
    )
    assert found == ["body.password", "body.pin"]
    cut = PARTS[: PARTS.index(b"ter2") + 2]
    assert body(cut, "multipart/form-data", []).endswith(b"\r\n\r\n*REDACTED*")


@pytest.mark.parametrize("before", [b"\r\n", b"A preamble\r\n", b"--not the border\r\n\r\nx\r\n"])
def test_what_stands_before_the_first_border_hides_no_part(before: bytes) -> None:
    redacted = body(PARTS, "multipart/form-data; boundary=X", [])
    assert body(before + PARTS, 'multipart/form-data; Boundary="X"', []) == before + redacted
    if b"--" not in before:
        assert body(before + PARTS, "multipart/form-data", []) == before + redacted


def test_lists_and_objects_of_secrets_are_masked_whole_and_counts_stay() -> None:
    data = b'{"tokens":["a",{"b":5}],"apiKeys":{"x":"s"},"max_tokens":7,"total_tokens":"s"}'
    assert body(data, "application/json", []) == (
        b'{"tokens":["*REDACTED*",{"b":"*REDACTED*"}],"apiKeys":{"x":"*REDACTED*"},'
        b'"max_tokens":7,"total_tokens":"*REDACTED*"}'
    )


def test_multipart_without_a_border_stays() -> None:
    assert body(b"password: x", "multipart/form-data", []) == b"password: x"
