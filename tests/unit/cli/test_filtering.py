"""Which witnesses a tap's options accept."""

from __future__ import annotations

from argparse import Namespace

import msgspec
import pytest

from services.cli.errors import Failure
from services.cli.filtering import Filter
from services.messages import Response, Source
from tests.support.witnesses import EMPTY, request, witness

WITNESS = witness(
    source=Source(node="n", namespace="shop", pod="cart-1", workload="cart"),
    request=request(authority="Api.Example.com:8443", path="/v1/items?secret=1"),
    response=Response(status=503, headers=(), trailers=(), body=EMPTY),
)
OPTIONS = ("namespace", "workload", "pod", "host", "path", "status")


def made(**options: str) -> Filter:
    return Filter.of(Namespace(**{name: options.get(name) for name in OPTIONS}))


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ({}, True),
        ({"namespace": "shop", "workload": "cart", "pod": "cart-1"}, True),
        ({"namespace": "other"}, False),
        ({"pod": "cart"}, False),
        ({"host": "api.example.com"}, True),
        ({"host": "*.example.com:8443"}, True),
        ({"host": "example.com"}, False),
        ({"path": "/v1/*"}, True),
        ({"path": "/v1/items"}, True),
        ({"path": "*secret*"}, False),
        ({"status": "503"}, True),
        ({"status": "5xx"}, True),
        ({"status": "5XX"}, True),
        ({"status": "50"}, None),
        ({"status": "404"}, False),
        ({"status": "many"}, None),
    ],
)
def test_a_filter_accepts_what_it_names(options: dict[str, str], accepted: bool | None) -> None:
    if accepted is None:
        with pytest.raises(Failure, match="three digits"):
            made(**options)
        return
    assert made(**options).accepts(msgspec.json.encode(WITNESS)) is accepted


def test_without_a_response_no_status_fits() -> None:
    silent = msgspec.structs.replace(WITNESS, response=None, request=None)
    assert not made(status="5xx").accepts(msgspec.json.encode(silent))
    assert not made(host="h").accepts(msgspec.json.encode(silent))


def test_what_cannot_be_read_is_left_to_the_tap() -> None:
    assert made(status="5xx").accepts(b"nonsense")
