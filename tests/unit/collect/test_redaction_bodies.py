"""Secrets in JSON and form bodies: their values go, every other byte stays."""

from __future__ import annotations

import pytest

from services.collect.redaction_bodies import body

FORM = "application/x-www-form-urlencoded; charset=utf-8"
JSON = "application/json"


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
