"""Subjects hold only legal tokens, and two names never become one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import subjects
from services.messages import Source

LEGAL = re.compile(r"[A-Za-z0-9_-]+")


@given(st.text(max_size=300))
def test_any_name_becomes_a_legal_token(name: str) -> None:
    token = subjects.token(name)
    assert LEGAL.fullmatch(token)
    assert len(token) <= 80


@given(st.text(max_size=100), st.text(max_size=100))
def test_two_names_are_two_tokens(one: str, other: str) -> None:
    assert (subjects.token(one) == subjects.token(other)) == (one == other)


@pytest.mark.parametrize("name", ["curl", "cart-5d9c", "kube_system"])
def test_a_readable_name_stays_as_it_is(name: str) -> None:
    assert subjects.token(name) == name


def test_names_with_dots_stay_readable() -> None:
    assert re.fullmatch(r"node-1_example_com-[0-9a-f]{8}", subjects.token("node-1.example.com"))


def test_a_witness_is_stored_and_tapped_under_the_same_names() -> None:
    source = Source(node="n", namespace="shop", workload="cart")
    assert subjects.stored_witness(source) == "plainwire.store.witnesses.shop.cart"
    assert subjects.witnesses("shop", "cart") == "plainwire.witnesses.shop.cart"
    assert subjects.witnesses() == "plainwire.witnesses.*.*"
