"""Secrets in headers, request targets and authorities, by the names that hold them."""

from __future__ import annotations

import pytest

from services.collect import redaction, sensitive
from services.collect.redaction import REPLACEMENT


@pytest.mark.parametrize("name", sensitive.LISTED)
def test_every_listed_name_is_secret_in_any_case(name: str) -> None:
    for spelled in (name, name.upper(), name.lower(), name.title()):
        found: list[str] = []
        assert redaction.headers(((spelled, "s3cret"),), found) == ((spelled, REPLACEMENT),)
        assert found == [f"header.{name.lower()}"]


@pytest.mark.parametrize("name", sensitive.LISTED)
def test_every_listed_name_has_a_fragment(name: str) -> None:
    assert any(
        fragment in name.lower().encode() for fragment in (*sensitive.FRAGMENTS, *sensitive.SHORT)
    )


def test_there_are_forty_names() -> None:
    assert len(set(sensitive.NAMES)) == 40


@pytest.mark.parametrize("name", ["access_token", "access-token", "API_KEY", "user[password]"])
def test_spellings_of_a_listed_name_are_secret(name: str) -> None:
    assert sensitive.rule(name) is not None


@pytest.mark.parametrize(
    "name",
    ["traceparent", "TraceState", "content-type", "tokenizer", "x-request-id", "keyword", "author"],
)
def test_other_names_keep_their_values(name: str) -> None:
    found: list[str] = []
    pairs = ((name, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)
    assert redaction.headers(pairs, found) is pairs
    assert found == []


def test_a_value_under_an_unknown_name_is_never_shown() -> None:
    found: list[str] = []
    pairs = ((None, None), (None, "maybe a token"), ("cookie", None), ("a", "b"))
    assert redaction.headers(pairs, found) == (
        (None, None), (None, None), ("cookie", None), ("a", "b"),
    )  # fmt: skip
    assert found == ["header.unknown"]


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1/items?x=1&y=%20z;q#f", None),
        ("/", None),
        ("*", None),
        ("/@scope/pkg", None),
        ("/a?mail=me@example.org", None),
        ("/a?token", None),
        ("host:443", None),
        ("/a?b=c&token=abc", "/a?b=c&token=*REDACTED*"),
        ("/a?TOKEN=abc;def&b=c", "/a?TOKEN=*REDACTED*&b=c"),
        ("/a?b=c;token=abc", "/a?b=c;token=*REDACTED*"),
        ("/a?%74oken=abc", "/a?%74oken=*REDACTED*"),
        ("/a?user[password]=abc", "/a?user[password]=*REDACTED*"),
        ("/a?to=/b?api_key=abc", "/a?to=/b?api_key=*REDACTED*"),
        ("/a#access_token=abc&x=1", "/a#access_token=*REDACTED*&x=1"),
        ("/a?x=1#access_token=abc", "/a?x=1#access_token=*REDACTED*"),
        ("/a;token=abc/b?x=1", "/a;token=*REDACTED*/b?x=1"),
        ("https://me:pw@host/a?token=t", "https://host/a?token=*REDACTED*"),
        ("me:pw@host:443", "host:443"),
        ("//me:pw@host/", "//host/"),
        ("/a?to=https://me:pw@host/&b=c", "/a?to=https://host/&b=c"),
        ("/a?to=https://host/@scope", None),
        ("/npm/https://host/react@18", None),
        ("/a?max_tokens=5&tokens=5", "/a?max_tokens=5&tokens=*REDACTED*"),
        ('/a?f={"password":"s"}&b=c', "/a?f=*REDACTED*&b=c"),
        ("/a?f=%7B%22password%22%3A%22s%22%7D&b=c", "/a?f=*REDACTED*&b=c"),
        ("/a?f=%5B%7B%22%5Cu0070assword%22:1%7D%5D", "/a?f=*REDACTED*"),
        ("/a?f=%7B%22max_tokens%22%3A5%7D", None),
        ("/a?to=%2Fb%3Fc%3Dd%26token%3Dabc&e=f", "/a?to=*REDACTED*&e=f"),
        ("/a?to=%252Fb%253Ftoken%253Dabc", "/a?to=*REDACTED*"),
        ("/a?to=https%3A%2F%2Fme%3Apw%40host", "/a?to=*REDACTED*"),
        ("/a?to=%2Fb%3Fc%3Dd", None),
        ("/a?X-Amz-Signature=abc&id_token=x", "/a?X-Amz-Signature=*REDACTED*&id_token=*REDACTED*"),
    ],
)
def test_a_target_keeps_all_but_its_secrets(target: str, shown: str | None) -> None:
    found: list[str] = []
    assert redaction.target(target, found) == (target if shown is None else shown)
    assert bool(found) == (shown is not None)


def test_headers_that_hold_urls_are_redacted_as_urls() -> None:
    found: list[str] = []
    pairs = (("Location", "https://me:pw@host/cb?token=abc"), ("referer", "https://host/"))
    assert redaction.headers(pairs, found) == (
        ("Location", "https://host/cb?token=*REDACTED*"),
        ("referer", "https://host/"),
    )
    assert found == ["url.userinfo", "query.token"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        (
            "Refresh",
            "0; url=https://me:pw@host/?token=abc",
            "0; url=https://host/?token=*REDACTED*",
        ),
        ("Link", "<https://me:pw@host/a>; rel=next", "<https://host/a>; rel=next"),
    ],
)
def test_a_url_within_a_header_loses_its_secrets(name: str, value: str, shown: str) -> None:
    found: list[str] = []
    assert redaction.headers(((name, value),), found) == ((name, shown),)
    assert found


def test_nested_encodings_cost_no_recursion() -> None:
    target = "/a?to=%" + "25" * 100_000 + "3Dx"
    assert redaction.target(target, []) == target


def test_an_authority_loses_its_userinfo() -> None:
    found: list[str] = []
    assert redaction.authority("me:p@ss@host:443", found) == "host:443"
    assert redaction.authority("host:443", found) == "host:443"
    assert redaction.authority(None, found) is None
    assert redaction.target(None, found) is None
    assert found == ["url.userinfo"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("graphql-ws", "graphql-ws"),
        ("chat, v12.stomp", "chat, v12.stomp"),
        ("base64url.bearer.authorization.k8s.io.QUJD, base64.binary.k8s.io",
         "base64url.bearer.authorization.k8s.io.*REDACTED*, base64.binary.k8s.io"),
        ("Bearer, abc.def", "Bearer, *REDACTED*"),
        ("chat, access_token, abc", "chat, access_token, *REDACTED*"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", "*REDACTED*"),
        ("chat,token.abc", "chat,token.*REDACTED*"),
    ],
)  # fmt: skip
def test_tokens_among_the_subprotocols_of_a_websocket_go(said: str, shown: str) -> None:
    assert redaction.headers((("Sec-WebSocket-Protocol", said),), []) == (
        ("Sec-WebSocket-Protocol", shown),
    )


@pytest.mark.parametrize(
    "name", ["Origin", "Referer", "Location", "X-Original-URI", "X-Forwarded-Uri", "X-Rewrite-Url"]
)
def test_headers_that_are_urls_are_redacted_as_such(name: str) -> None:
    shown = redaction.headers(((name, "https://me:pw@host/a?token=t"),), [])
    assert shown == ((name, f"https://host/a?token={REPLACEMENT}"),)


def test_a_header_that_counts_tokens_keeps_its_number() -> None:
    pairs = (("x-ratelimit-remaining-tokens", "149984"),)
    assert redaction.headers(pairs, []) == pairs
