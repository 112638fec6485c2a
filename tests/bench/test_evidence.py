"""Verdicts follow from paired runs, and the intervals are Student's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmllm_bench.reproduce.evidence import (
    NOT_REPRODUCED,
    REPRODUCED,
    SURE,
    Finding,
    above_zero,
    chain,
    fact,
    undetermined,
)

SAMPLES = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=12)

ABOVE = above_zero("above", np.array([0.9, 1.0, 1.1]))
BELOW = above_zero("below", np.array([-0.9, -1.0, -1.1]))
OPEN = above_zero("open", np.array([-1.0, 0.5, 2.0]))


def test_above_zero_by_hand():
    # mean 3, sd 1 (n - 1), error 1 / sqrt(3); t of 2 degrees of freedom is 4.302653 and 9.924843
    part = above_zero("a > b", np.array([2.0, 3.0, 4.0]))
    assert (part.what, part.effect, part.runs) == ("a > b", 3.0, 3)
    assert (part.low, part.high) == pytest.approx((0.515862, 5.484138), abs=1e-6)
    assert (part.sure_low, part.sure_high) == pytest.approx((-2.730111, 8.730111), abs=1e-6)
    assert part.verdict == "undetermined at 3 seeds"  # 95 % would do, 99 % decides


def test_the_runs_decide_at_99_percent():
    assert SURE == 0.99
    # mean 1, sd 1: error 1 / sqrt(8); t of 7 degrees is 3.499 at 99 % and 2.365 at 95 %
    sample = np.array([1.0] * 8) + np.tile([-1, 1], 4) * math.sqrt(7 / 8)
    part = above_zero("x", sample)
    assert part.low > 0 > part.sure_low
    assert above_zero("x", sample + 0.24).verdict == REPRODUCED
    assert above_zero("x", sample + 0.23).verdict == undetermined(8)


@pytest.mark.parametrize(
    ("part", "verdict"),
    [
        (ABOVE, "reproduced"),
        (BELOW, "not reproduced"),
        (OPEN, "undetermined at 3 seeds"),
        (above_zero("the same in every run", np.full(4, 0.5)), "reproduced"),
        (above_zero("minus the same", np.full(4, -0.5)), "not reproduced"),
        (above_zero("no difference in any run", np.zeros(4)), "not reproduced"),
        (fact("more", 0.1), "reproduced"),
        (fact("equal", 0.0), "not reproduced"),
        (fact("less", -0.1), "not reproduced"),
    ],
    ids=lambda x: getattr(x, "what", None),
)
def test_verdict_of_a_part(part, verdict):
    assert part.verdict == verdict


@pytest.mark.parametrize(
    ("parts", "verdict", "weakest"),
    [
        ((ABOVE,), REPRODUCED, ABOVE),
        ((ABOVE, OPEN), undetermined(3), OPEN),
        ((OPEN, ABOVE), undetermined(3), OPEN),
        ((ABOVE, OPEN, BELOW), NOT_REPRODUCED, BELOW),
        ((OPEN, fact("less", -0.1)), NOT_REPRODUCED, fact("less", -0.1)),
        ((fact("more", 0.1), ABOVE), REPRODUCED, fact("more", 0.1)),
        ((fact("more", 0.1), OPEN), undetermined(3), OPEN),  # not "at 1 seeds"
        ((BELOW, fact("much less", -9.0)), NOT_REPRODUCED, fact("much less", -9.0)),
    ],
)
def test_a_finding_needs_all_its_parts(parts, verdict, weakest):
    finding = Finding("x", "as read", parts)
    assert finding.verdict == verdict
    assert finding.weakest == weakest


def test_the_weakest_is_the_one_with_the_lowest_end_not_the_lowest_effect():
    wide = above_zero("wide", np.array([1.0, 5.0, 3.0]))
    assert wide.effect > OPEN.effect
    assert wide.sure_low < OPEN.sure_low
    assert Finding("x", "as read", (OPEN, wide)).weakest == wide


def test_chain_compares_neighbours_run_by_run():
    samples = [np.array([3.0, 13.0]), np.array([2.0, 12.0]), np.array([5.0, 15.0])]
    parts = chain(("a", "b", "c"), samples)
    assert [part.what for part in parts] == ["a > b", "b > c"]
    assert [part.effect for part in parts] == [1.0, -3.0]
    # Worlds differ by 10, pairs do not: paired, so it is certain.
    assert [part.verdict for part in parts] == [REPRODUCED, NOT_REPRODUCED]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ([1.0], "at least two"),
        ([], "at least two"),
        ([[1.0, 2.0], [3.0, 4.0]], "at least two"),
        (3.0, "at least two"),
        ([1.0, math.nan], "not finite"),
        ([math.inf, 1.0], "not finite"),
    ],
)
def test_samples_without_an_interval_are_errors_that_name_the_inequality(sample, message):
    with pytest.raises(ValueError, match=f"a > b: .*{message}"):
        above_zero("a > b", np.array(sample))


@given(SAMPLES)
def test_not_both_a_difference_and_its_negative_are_above_zero(sample):
    there, back = (above_zero("x", sign * np.array(sample)).verdict for sign in (1, -1))
    if REPRODUCED in (there, back):
        assert {there, back} == {REPRODUCED, NOT_REPRODUCED}
    else:
        assert there == back


@given(SAMPLES)
def test_a_large_enough_constant_turns_the_verdict(sample):
    part = above_zero("x", np.array(sample))
    up = above_zero("x", np.array(sample) - part.sure_low + 1.0)
    down = above_zero("x", np.array(sample) - part.sure_high - 1.0)
    assert (up.verdict, down.verdict) == (REPRODUCED, NOT_REPRODUCED)


@given(SAMPLES)
def test_the_deciding_interval_holds_the_printed_one(sample):
    part = above_zero("x", np.array(sample))
    assert part.sure_low <= part.low <= part.effect <= part.high <= part.sure_high


def test_chance_alone_decides_in_one_case_of_a_hundred():
    samples = np.random.default_rng(0).normal(size=(4000, 5))
    verdicts = [above_zero("x", sample).verdict for sample in samples]
    for verdict in (REPRODUCED, NOT_REPRODUCED):
        assert 0.002 < verdicts.count(verdict) / len(samples) < 0.008  # 0.005 each


@pytest.mark.parametrize("margin", [math.nan, math.inf])
def test_a_margin_must_be_a_number(margin):
    with pytest.raises(ValueError, match="is not finite"):
        fact("x > y", margin)


def test_a_finding_about_nothing_is_refused():
    with pytest.raises(ValueError, match="needs at least one part"):
        Finding("4a-final", "as read", ())
