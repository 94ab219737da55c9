"""Holds a witness against what the two ends wrote down; an AssertionError names the field."""

from __future__ import annotations

import base64
import gzip

from services.messages import Body, Headers, Witness
from tests.support.plans import Exchanged

CAP = 64 * 1024


def merged(client: list[Exchanged], server: list[Exchanged]) -> list[Exchanged]:
    """The whole truth, in the order of sending: requests as the server got them (with the headers
    that the client's library added), responses as the client got them."""
    served = {e.id: e for e in server}
    return [
        e._replace(
            request_headers=served[e.id].request_headers, request_body=served[e.id].request_body
        )
        for e in client
    ]


def check(witness: Witness, truth: Exchanged, authority: str) -> None:
    request, response = witness.request, witness.response
    assert (witness.state, witness.part, witness.final) == ("complete", 1, True), truth.id
    assert witness.gaps == (), truth.id
    assert request is not None, truth.id
    assert response is not None, truth.id
    assert (request.method, request.path) == (truth.method, truth.target), truth.id
    assert (request.scheme, request.authority) == ("https", authority), truth.id
    assert response.status == truth.status, truth.id
    assert lowered(request.headers) == truth.request_headers, truth.id
    assert lowered(response.headers) == truth.response_headers, truth.id
    _check_body(request.body, truth.request_body, truth.request_headers, f"{truth.id} request")
    _check_body(response.body, truth.response_body, truth.response_headers, f"{truth.id} response")
    _check_timing(witness, truth.id)


def lowered(headers: Headers) -> list[tuple[str | None, str | None]]:
    return [(name.lower() if name else name, value) for name, value in headers]


def shown(body: Body) -> bytes:
    if body.text is not None:
        assert body.base64 is None
        return body.text.encode()
    return base64.b64decode(body.base64 or "")


def _check_body(body: Body, sent: bytes, headers: list[tuple[str, str]], where: str) -> None:
    coding = dict(headers).get("content-encoding")
    assert body.size == len(sent), f"{where}: size"
    assert _nearly(body.captured, min(len(sent), CAP)), f"{where}: captured"
    assert body.truncated == (len(sent) > CAP), f"{where}: truncated"
    assert body.truncated_by == ("cap" if len(sent) > CAP else None), f"{where}: truncated_by"
    assert body.content_encoding == coding, f"{where}: content_encoding"
    whole = gzip.decompress(sent) if coding == "gzip" and sent else sent
    assert body.decoded == (coding == "gzip"), f"{where}: decoded"
    assert shown(body) == whole[: len(shown(body))], f"{where}: bytes"
    assert _nearly(len(shown(body)), min(len(whole), CAP)), f"{where}: length shown"


def _nearly(size: int, most: int) -> bool:
    """A cap within a character of a text leaves the character out."""
    return size == most or (most == CAP and CAP - 3 <= size < CAP)


def _check_timing(witness: Witness, where: str) -> None:
    t = witness.timing
    assert t.request_start is not None, where
    assert t.request_end is not None, where
    assert t.response_start is not None, where
    assert t.response_end is not None, where
    assert t.request_start <= t.request_end, where
    assert t.response_start <= t.response_end, where
    assert t.request_start <= t.response_end, where
