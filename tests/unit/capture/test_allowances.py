"""Classes of workloads, from the settings and from targets."""

from __future__ import annotations

import pytest

from services.capture.parent import allowances
from services.capture.parent.allowances import MOST
from services.capture.parent.shedding import WHOLE
from services.messages import Allowance


def test_an_allowance_is_read_from_a_setting() -> None:
    assert allowances.parse("nginx=low:512") == Allowance(
        workload="nginx", priority="low", kib_per_second=512
    )
    assert allowances.parse("a=b=high") == Allowance(workload="a=b", priority="high")


@pytest.mark.parametrize("text", ["", "nginx", "nginx=urgent", "=low", "nginx=low:fast"])
def test_what_is_no_allowance_is_refused_with_the_mend(text: str) -> None:
    with pytest.raises(ValueError, match="NAME=low, normal or high"):
        allowances.parse(text)


def test_classes_have_numbers_and_the_last_word_counts() -> None:
    found, refused = allowances.classes(
        [allowances.parse(text) for text in ("a=low", "b=high", "a=normal:1")]
    )
    assert allowances.numbers(found) == {"a": 1, "b": 2}
    assert found[0].priority == "normal"
    assert refused == 0


def test_there_are_only_so_many() -> None:
    found, refused = allowances.classes(Allowance(workload=str(n)) for n in range(20))
    assert (len(found), refused) == (MOST, 20 - MOST)


def test_a_class_without_a_rate_is_never_bounded() -> None:
    ((one,), _) = allowances.classes([allowances.parse("a=low")])
    assert [one.second(taken, 1.0) for taken in (0, 10**12)] == [WHOLE, WHOLE]


def test_a_class_beyond_its_rate_is_cut_and_goes_on_so_under_the_same_rate() -> None:
    told = [allowances.parse("a=normal:1")]
    (one,), _ = allowances.classes(told)
    assert one.second(5000, 1.0) == WHOLE
    share = one.second(5000 + 4096, 1.0)
    assert share == pytest.approx(WHOLE * 0.9 / 4, rel=0.01)
    (same,), _ = allowances.classes(told, [one])
    assert same.controller.share == share
