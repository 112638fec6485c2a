"""The paper's figures and claims: what is played, kept, judged, drawn and written down.

``python tests/bench/test_reproduce.py`` writes the present numbers of a short run to ``reference``.
"""

import csv
import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from distmllm_bench.cli import app
from distmllm_bench.metrics import Scores, optimum
from distmllm_bench.reproduce import (
    ablations,
    drawing,
    fig1,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    ledger,
    robustness,
    run,
    theory,
)
from distmllm_bench.reproduce import lab as lab_module
from distmllm_bench.reproduce.claims import CLAIMS, contradictions
from distmllm_bench.reproduce.evidence import NOT_REPRODUCED, REPRODUCED, Finding, fact
from distmllm_bench.reproduce.lab import Contender, Curves, Lab, Setting, condense
from distmllm_bench.sweep.identity import Sources
from distmllm_env import Scenario, draw_world, load_policy, play
from distmllm_env.scenario import ENC, LLM

REFERENCE = Path(__file__).parent / "reference"
FIGURES = (fig4, fig5, fig6, fig7)
R, N = REPRODUCED, NOT_REPRODUCED


def short_lab():
    return Lab(range(3), base={"slots": 60})


@pytest.fixture(scope="module")
def lab():
    return short_lab()


@pytest.fixture(scope="module")
def panels(lab):
    return {panel.id: panel for module in FIGURES for panel in module.panels(lab, "sd")}


# Claims

IDS = [
    *("1a", "1b", "3a", "3b"),
    *("4a-early", "4a-final", "4b-always", "4b-final"),
    *("4c-final", "4c-early", "4d-final", "4d-early"),
    *("5-settle", "5-spread"),
    *("6a", "6b-above", "6b-peak", "6b-gain"),
    *("7a-fall", "7a-slope", "7b"),
    *("lemma-1", "lemma-2", "lemma-3", "theorem-1"),
]


def test_claims_are_those_of_the_paper():
    assert [claim.id for claim in CLAIMS] == IDS


def test_which_claims_exclude_each_other():
    assert contradictions() == {"4c-final": "4a-final", "4d-early": "4b-always"}


@pytest.mark.parametrize(
    ("id_", "change", "left"),
    [
        ("4c-final", {"above": frozenset({("ucb", "heu")})}, {"4d-early": "4b-always"}),
        ("4a-final", {"above": frozenset({("ucb", "heu")})}, {"4d-early": "4b-always"}),
        ("4d-early", {"ranks": ("LLM regret", "early")}, {"4c-final": "4a-final"}),
        ("4b-always", {"ranks": ("ENC profit", "end")}, {"4c-final": "4a-final"}),
        ("4b-always", {"ranks": None}, {"4c-final": "4a-final"}),
    ],
)
def test_contradictions_follow_from_what_the_claims_say(id_, change, left):
    changed = tuple(replace(c, **change) if c.id == id_ else c for c in CLAIMS)
    assert contradictions(changed) == left


# What is kept of a run


@pytest.mark.parametrize(
    ("scenario", "policy", "keys"),
    [
        ("toy", "ucb", {}),
        ("toy", "distmllm", {}),
        ("paper", "ucb", {"slots": 30}),
        ("paper", "distmllm", {"slots": 30}),
        ("paper", "random", {"slots": 30, "providers": 9}),
        ("paper", "ucb", {"slots": 30, "market.transfer_cost_per_mb": 0.3}),
    ],
)
def test_condensed_runs_keep_the_scores(scenario, policy, keys):
    record = play(Scenario.load(scenario, keys), load_policy(policy), range(3))
    best = optimum(record.world)
    scores, kept = Scores(record, best), condense(record, best.stage_value)
    close = {"rtol": 1e-12, "atol": 1e-9}
    np.testing.assert_allclose(kept.regret.sum(axis=2), scores.regret_curve, **close)
    np.testing.assert_allclose(kept.regret[:, -1], scores.stage_regret, **close)
    np.testing.assert_allclose(kept.profit.sum(axis=(1, 2)), scores.profit, **close)
    np.testing.assert_allclose(kept.average.sum(axis=2), scores.profit_curve, **close)
    np.testing.assert_allclose(kept.total * kept.slots, scores.profit, **close)
    np.testing.assert_array_equal(kept.rejected, scores.rejected)
    np.testing.assert_allclose(kept.provider.sum(axis=2), kept.profit, rtol=1e-5, atol=1e-5)
    phases = np.zeros((3, kept.slots), bool) if record.exploring is None else record.exploring
    np.testing.assert_array_equal(kept.exploring, phases)


@pytest.mark.parametrize("keys", [{}, {"market.transfer_cost_per_mb": 0.3}])
@pytest.mark.parametrize(
    ("scenario", "policy", "contested"),
    [("toy", "oracle", {False}), ("toy", "ucb", {True}), ("paper", "random", {False, True})],
)
def test_as_if_nobody_else_had_come(scenario, policy, contested, keys):
    record = play(Scenario.load(scenario, keys, slots=20), load_policy(policy), range(3))
    kept = condense(record, optimum(record.world).stage_value)
    alone = (record.status <= 1).all(axis=(2, 3))  # deferred or admitted
    assert set((~alone).ravel().tolist()) == contested
    np.testing.assert_allclose(kept.free[alone], kept.expected[alone], atol=1e-12)
    assert (kept.free.sum(axis=2)[~alone] > kept.expected.sum(axis=2)[~alone]).all()
    by_hand = np.zeros_like(kept.free)
    kappa = record.world.transfer_cost
    for (b, t, m), (enc, llm) in zip(
        np.ndindex(record.allocation.shape[:3]), record.allocation.reshape(-1, 2), strict=True
    ):
        by_hand[b, t, ENC] += record.world.mean_profit[b, ENC, m, enc]
        by_hand[b, t, LLM] += record.world.mean_profit[b, LLM, m, llm]
        if enc != llm and max(enc, llm) < record.world.scenario.workers:
            by_hand[b, t, LLM] -= kappa[b, m]
    np.testing.assert_allclose(kept.free, by_hand, atol=1e-9)
    np.testing.assert_allclose(
        kept.free_regret[:, -1], kept.best * kept.slots - kept.free.sum(axis=1), atol=1e-9
    )


@pytest.mark.parametrize("width", [1, 4, 30, 99])
def test_averages_against_a_plain_loop(lab, width):
    run = lab.curves(fig4.SETTING, "ucb")
    moving, average = run.window(width), run.average
    for t in range(run.slots):
        np.testing.assert_allclose(average[:, t], run.profit[:, : t + 1].mean(axis=1), atol=1e-12)
        recent = run.profit[:, max(t + 1 - width, 0) : t + 1]
        np.testing.assert_allclose(moving[:, t], recent.mean(axis=1), atol=1e-12)


# The lab

TINY = Setting("tiny", {"slots": 5})
OURS = Contender("distmllm", {"explore_slots": 2})


def forbid(monkeypatch):
    monkeypatch.setattr(lab_module, "play", lambda *args: pytest.fail("played"))


def same(a, b):
    for f in fields(Curves):
        x, y = getattr(a, f.name), getattr(b, f.name)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_what_was_played_is_found_again(tmp_path, monkeypatch):
    told = []
    first = Lab((3, 5), tmp_path, progress=told.append)
    played = first.curves(TINY, OURS)
    assert told == ["tiny: distmllm"]
    forbid(monkeypatch)
    assert first.curves(TINY, OURS) is played
    again = Lab([3, 5], tmp_path, progress=told.append)
    same(again.curves(TINY, OURS), played)
    renamed = replace(OURS, label="ours")
    same(again.curves(Setting("other name", {"slots": 5}), renamed), played)
    same(Lab((3, 5), tmp_path, base={"slots": 5}).curves(Setting("tiny"), OURS), played)
    assert told == ["tiny: distmllm"]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("seeds", "setting", "who"),
    [
        ((3, 6), TINY, OURS),
        ((5, 3), TINY, OURS),
        ((3,), TINY, OURS),
        ((3, 5), Setting("tiny", {"slots": 6}), OURS),
        ((3, 5), Setting("tiny", {"slots": 5, "noise.std": 0.2}), OURS),
        ((3, 5), Setting("tiny", {"slots": 5}, scenario="toy"), OURS),
        ((3, 5), TINY, Contender("distmllm")),
        ((3, 5), TINY, Contender("distmllm", {"explore_slots": 3})),
        ((3, 5), TINY, Contender("ucb", label="distmllm")),
    ],
)
def test_anything_else_is_played_anew(tmp_path, seeds, setting, who):
    Lab((3, 5), tmp_path).curves(TINY, OURS)
    told = []
    Lab(seeds, tmp_path, progress=told.append).curves(setting, who)
    assert told == [f"tiny: {who.id}"]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("what", ["module_sources", "policy_sources"])
def test_results_of_other_code_are_not_reused(tmp_path, monkeypatch, what):
    Lab((3, 5), tmp_path).curves(TINY, "ucb")
    other = Sources({"a.py": "edited"}, {})
    monkeypatch.setattr(lab_module, what, lambda *of: other)
    told = []
    Lab((3, 5), tmp_path, progress=told.append).curves(TINY, "ucb")
    assert told == ["tiny: ucb"]


@pytest.mark.parametrize("damage", ["empty", "half", "end", "middle", "bits", "text", "other"])
def test_a_damaged_file_is_reported_and_played_again(tmp_path, damage):
    played = Lab((3, 5), tmp_path).curves(TINY, "ucb")
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "other":
        np.savez(path, x=np.zeros(3))
    else:
        half = len(whole) // 2
        path.write_bytes(
            {
                "empty": b"",
                "half": whole[:half],
                "end": whole[:-1],
                "middle": whole[: half - 40] + bytes(80) + whole[half + 40 :],
                "bits": whole[:200] + bytes(255 - x for x in whole[200:260]) + whole[260:],
                "text": b"no zip",
            }[damage]
        )
    told = []
    same(Lab((3, 5), tmp_path, progress=told.append).curves(TINY, "ucb"), played)
    assert len(told) == 2
    assert re.fullmatch(rf"{path.name} cannot be read \(.+\): played again", told[0])
    assert told[1] == "tiny: ucb"
    told.clear()
    same(Lab((3, 5), tmp_path, progress=told.append).curves(TINY, "ucb"), played)
    assert told == []


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda self, target: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Lab((3, 5), tmp_path).curves(TINY, "ucb")
    assert list(tmp_path.iterdir()) == []
    Lab((3, 5), tmp_path).curves(TINY, "ucb")
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_a_setting_has_the_last_word():
    setting = Setting("a", {"noise.std": 0.2, "providers": 3})
    scenario = setting.load({"noise.std": 0.3, "slots": 7, "providers": 9, "workers": 4})
    assert scenario.noise.std == 0.2
    assert (scenario.slots, scenario.providers, scenario.workers) == (7, 3, 4)


def test_constants_reach_every_setting(monkeypatch):
    played = []

    def spy(scenario, *rest):
        played.append(scenario)
        return play(scenario, *rest)

    monkeypatch.setattr(lab_module, "play", spy)
    base = {"slots": 6, "noise.std": 0.03, "reward.value_llm": 6.0}
    lab = Lab((0, 1), base=base)
    for module in (*FIGURES, ablations):
        module.panels(lab, "sd")
    assert {s.slots for s in played} == {6}
    assert {s.reward.value_llm.low for s in played} == {6.0}
    assert {s.noise.std for s in played} == {0.03, 0.3}  # 0.3: ablations
    sizes = {(s.providers, s.workers) for s in played}
    assert sizes == {(m, 5) for m in (5, 6, 7, 8, 9, 10)} | {(10, n) for n in (5, 10, 20, 30)}
    world = draw_world(Scenario.load("paper", base), (0, 1))
    mean = world.mean_profit[:, LLM, :, :5].mean()  # a tensor has 1 MB
    costs = sorted({s.market.transfer_cost_per_mb for s in played})
    assert costs == pytest.approx([share * mean for share in (0, 0.1, 0.2, 0.3, 0.4, 0.5)])


# Figures: made-up curves in, verdicts out

SLOT = np.arange(1, 501)
WORLDS = np.array([0.0, 0.1, 0.2, 0.3])  # what runs differ by, for all policies alike
T_3 = 3.182446  # Student's t, three degrees of freedom, 95 %


class Made:
    """A lab whose curves come from a function of setting and name."""

    seeds = (0, 1, 2, 3)
    base = {}  # noqa: RUF012

    def __init__(self, make):
        self.make = make

    def curves(self, setting, who):
        return self.make(setting, who if isinstance(who, str) else who.id)


def curves(enc, llm, **others):
    """Curves of four runs with these profits per slot, scalars or (T,)."""
    level = np.stack([np.broadcast_to(enc, SLOT.shape), np.broadcast_to(llm, SLOT.shape)], axis=1)
    profit = level + WORLDS[:, None, None]
    return Curves(
        **{
            "profit": profit,
            "expected": profit,
            "free": profit,
            "provider": np.repeat(profit[:, :, None] / 5, 5, axis=2).astype(np.float32),
            "best": np.full((4, 2), 20.0) + WORLDS[:, None],
            "rejected": np.zeros(4),
            "exploring": np.zeros(profit.shape[:2], bool),
            **others,
        }
    )


def judged(module, make, claim):
    """Findings of a claim, one per reading."""
    found = [f for panel in module.panels(Made(make), "sd") for f in panel.findings]
    return [f for f in found if f.claim == claim]


def verdicts(module, make, claim):
    return [finding.verdict for finding in judged(module, make, claim)]


def after(slots, before, then):
    return np.where(slots >= SLOT, before, then).astype(float)


ENC_PROFIT = {"distmllm": 5.0, "ucb": 2.0 + SLOT / 500, "heu": 1.0}
LLM_PROFIT = {"distmllm": after(100, 1.0, 8.0), "ucb": 2.0, "heu": 3.0}


def swap(profits, a, b):
    return {**profits, a: profits[b], b: profits[a]}


@pytest.mark.parametrize(
    ("claim", "enc", "llm", "expected"),
    [
        ("4a-early", {}, {}, [R]),
        ("4a-early", {}, swap(LLM_PROFIT, "heu", "ucb"), [N]),
        ("4a-early", {}, {"distmllm": 8.0}, [N]),
        ("4a-final", {}, {}, [R, R]),
        ("4a-final", {}, swap(LLM_PROFIT, "distmllm", "ucb"), [N, N]),
        ("4a-final", {}, swap(LLM_PROFIT, "heu", "ucb"), [N, N]),
        ("4a-final", {}, {"distmllm": after(450, 8.0, 0.0)}, [R, N]),
        ("4b-always", {}, {}, [R]),
        ("4b-always", swap(ENC_PROFIT, "distmllm", "ucb"), {}, [N]),
        ("4b-always", swap(ENC_PROFIT, "distmllm", "heu"), {}, [N]),
        ("4b-always", {"distmllm": after(60, 0.5, 5.0)}, {}, [N]),
        ("4b-always", {"distmllm": after(49, 0.0, 500.0)}, {}, [R]),  # at slot 50, not before
        ("4b-final", {}, {}, [R]),
        ("4b-final", {"distmllm": after(60, 0.5, 5.0)}, {}, [R]),
        ("4b-final", swap(ENC_PROFIT, "heu", "ucb"), {}, [N]),
        ("4b-final", {"ucb": 3.0 - SLOT / 500}, {}, [N]),  # does not rise
        ("4b-final", {"heu": 2.0 - SLOT / 250}, {}, [N]),  # is not flat
        ("4c-final", {}, {}, [N, N]),
        ("4c-final", {}, {"heu": 1.0}, [R, R]),
        ("4c-early", {}, {}, [N, N]),
        ("4c-early", {}, {"distmllm": after(420, 1.0, 8.0)}, [R, R]),
        ("4c-early", {}, {"distmllm": after(420, 3.0, 8.0)}, [N, N]),
        ("4d-final", {}, {}, [R, R]),
        ("4d-final", swap(ENC_PROFIT, "distmllm", "ucb"), {}, [N, N]),
        ("4d-early", {}, {}, [N, N]),
        ("4d-early", swap(ENC_PROFIT, "distmllm", "ucb"), {}, [R, R]),
    ],
)
def test_figure_4_says_what_its_curves_say(claim, enc, llm, expected):
    enc, llm = {**ENC_PROFIT, **enc}, {**LLM_PROFIT, **llm}
    assert verdicts(fig4, lambda _, who: curves(enc[who], llm[who]), claim) == expected


def test_figure_4_names_the_time_that_a_claim_hangs_on():
    dip = {**ENC_PROFIT, "distmllm": after(60, 0.0, 5.0)}
    (finding,) = judged(fig4, lambda _, who: curves(dip[who], LLM_PROFIT[who]), "4b-always")
    assert finding.weakest.what == "DistMLLM > UCB after 50 slots"
    assert [part.what for part in finding.parts if part.verdict == N][-1].endswith(
        "after 100 slots"
    )


def test_the_contention_free_reading_looks_at_contention_free_profit():
    crowded = {"heu": 0.0, "ucb": 2.0, "distmllm": 5.0}  # free: HEU < UCB < DistMLLM

    def make(_, who):
        run = curves(ENC_PROFIT[who], LLM_PROFIT[who])
        return replace(run, free=run.free * [1.0, 0.0] + [0.0, crowded[who]])

    assert verdicts(fig4, make, "4c-final") == [N, R]


def test_runs_that_disagree_decide_nothing():
    noise = np.array([-30.0, 30.0, -20.0, 25.0])[:, None, None]

    def make(_, who):
        run = curves(ENC_PROFIT[who], LLM_PROFIT[who])
        return replace(run, profit=run.profit + noise * (who == "distmllm"))

    assert verdicts(fig4, make, "4a-final") == ["undetermined at 4 seeds"] * 2


def providers(swing, levels=(0.0, 0.0), exploring=100):
    """Five providers that swing in some slots and differ by a level per stage."""
    sign = np.where(SLOT % 2, 1.0, -1.0)[:, None, None]
    apart = np.arange(5)[:, None] * np.array(levels)
    earned = 10.0 + sign * np.broadcast_to(swing, SLOT.shape)[:, None, None] + apart
    earned = np.broadcast_to(earned, (4, 500, 5, 2)).astype(np.float32)
    phases = np.broadcast_to(exploring >= SLOT, (4, 500))
    return lambda _, who: curves(1.0, 1.0, provider=earned, exploring=phases)


def test_figure_5_says_what_its_curves_say():
    early, late = after(100, 3.0, 1.0), after(100, 1.0, 3.0)
    assert verdicts(fig5, providers(early), "5-settle") == [R, R]
    assert verdicts(fig5, providers(late), "5-settle") == [N, N]
    # It explores late: calmer in phases that exploit, not over time.
    assert verdicts(fig5, providers(early, exploring=0), "5-settle") == [N, R]
    assert verdicts(fig5, providers(1.0, (0.5, 1.0)), "5-spread") == [R]
    assert verdicts(fig5, providers(1.0, (1.0, 0.5)), "5-spread") == [N]


UP = {m: float(m) for m in (5, 6, 7, 8, 9, 10)}
PEAK = {5: 3.0, 10: 9.0, 20: 8.0, 30: 7.0}
HALF = {n: x / 2 for n, x in PEAK.items()}


def more(profits, by=1.0):
    return {key: profit + by for key, profit in profits.items()}


def judged_6(swept, ours, ucb, claim):
    """Findings where the total profits of the two policies are these, by providers or workers."""
    fixed, size = {"providers": ("workers", 5), "workers": ("providers", 10)}[swept]

    def make(setting, who):
        table = {"distmllm": ours, "ucb": ucb}[who]
        return curves(
            0.0, table[setting.overrides[swept]] if setting.overrides[fixed] == size else 1
        )

    return judged(fig6, make, claim)


@pytest.mark.parametrize(
    ("ours", "ucb", "verdict"),
    [
        (more(UP), UP, R),
        (UP, more(UP), N),
        (UP, UP, N),
        (more(UP) | {8: 7.5}, UP, N),
    ],
)
def test_figure_6a_says_what_its_curves_say(ours, ucb, verdict):
    (finding,) = judged_6("providers", ours, ucb, "6a")
    assert finding.verdict == verdict
    if ours.get(8) == 7.5:
        assert finding.weakest.what == "DistMLLM > UCB at providers = 8"


@pytest.mark.parametrize(
    ("claim", "ours", "ucb", "verdict"),
    [
        ("6b-above", PEAK, HALF, R),
        ("6b-above", HALF, PEAK, N),
        ("6b-above", PEAK | {30: 3.0}, HALF, N),
        ("6b-peak", PEAK, HALF, R),
        ("6b-peak", PEAK | {20: 9.5}, HALF, N),
        ("6b-peak", PEAK, HALF | {5: 6.0}, N),
        ("6b-peak", PEAK | {30: 9.5}, HALF, N),
        ("6b-gain", PEAK, HALF, R),
        ("6b-gain", more(HALF, 9.0), PEAK, N),
    ],
)
def test_figure_6b_says_what_its_curves_say(claim, ours, ucb, verdict):
    (finding,) = judged_6("workers", ours, ucb, claim)
    assert finding.verdict == verdict


@pytest.mark.parametrize(
    ("claim", "ours", "ucb", "expected"),
    [
        ("7a-fall", (10, 1.0), (8, 1.5), [R]),
        ("7a-fall", (10, -1.0), (8, 1.5), [N]),
        ("7a-fall", (10, 1.0), (8, 0.0), [N]),
        ("7a-slope", (10, 1.0), (8, 1.5), [R, R]),
        ("7a-slope", (8, 1.5), (10, 1.0), [N, N]),
        ("7a-slope", (9, 1.0), (10, 1.5), [N, N]),  # slower, but below
        ("7a-slope", (10, 0.4), (5, 0.3), [N, R]),  # slower as a share only
    ],
)
def test_figure_7a_says_what_its_curves_say(claim, ours, ucb, expected):
    def make(setting, who):
        start, fall = {"distmllm": ours, "ucb": ucb, "monolithic": (1, 0)}[who]
        place = float(setting.id.removeprefix("kappa=")) * 10 if "kappa" in setting.id else 0.0
        return curves(0.0, start - fall * place)

    assert verdicts(fig7, make, claim) == expected


@pytest.mark.parametrize(
    ("ours", "whole", "expected"),
    [
        (after(100, 1.0, 5.0), 3.0, [R, R]),
        (3.0, after(100, 1.0, 5.0), [N, N]),
        (after(100, 0.0, 3.3), 3.0, [N, R]),  # what exploring costs eats the gain
        (after(100, 1.0, 5.0), after(200, 2.0, 3.0), [N, N]),  # not steady
    ],
)
def test_figure_7b_says_what_its_curves_say(ours, whole, expected):
    phases = np.broadcast_to(SLOT <= 100, (4, 500))

    def make(_, who):
        if who == "monolithic":
            return curves(0.0, whole)
        return curves(0.0, ours, exploring=phases)

    assert verdicts(fig7, make, "7b") == expected


# Figures: rows and drawings


@pytest.mark.parametrize(("band", "factor"), [("sd", 1.0), ("ci", T_3 / math.sqrt(4))])
def test_rows_are_means_and_bands(band, factor):
    rng = np.random.default_rng(7)
    made = {}

    def make(setting, who):
        if (setting.id, who) not in made:
            provider = rng.normal(5, 1, (4, 500, 5, 2)).astype(np.float32)
            profit = provider.astype(float).sum(axis=2)
            made[setting.id, who] = curves(0, 0, profit=profit, expected=profit, provider=provider)
        return made[setting.id, who]

    drawn = {p.id: p for module in FIGURES for p in module.panels(Made(make), band)}

    def check(row, name, sample):
        mean = sum(sample) / 4
        sd = math.sqrt(sum((x - mean) ** 2 for x in sample) / 3)
        assert row[name] == pytest.approx(mean, abs=1e-9)
        assert row[f"{name} {band}"] == pytest.approx(sd * factor, rel=1e-6)

    for id_, stage in (("4a", LLM), ("4b", ENC), ("4c", LLM), ("4d", ENC), ("7b", None)):
        rows = drawn[id_].rows
        names = ("distmllm", "monolithic") if id_ == "7b" else ("distmllm", "ucb", "heu")
        columns = [f"{name}{end}" for name in names for end in ("", f" {band}")]
        assert [row["slot"] for row in rows] == list(range(1, 501))
        for t in (1, 2, 77, 500):
            row = rows[t - 1]
            assert list(row) == ["slot", *columns]
            for name in names:
                run = made["5x5", name]
                part = run.profit if stage is None else run.profit[..., [stage]]
                value = part[:, :t].sum(axis=(1, 2)) / t
                if id_ in ("4c", "4d"):
                    value = t * (run.best[:, stage] - value)
                check(row, name, value)
    for id_, stage in (("5-enc", ENC), ("5-llm", LLM)):
        rows = drawn[id_].rows
        assert [row["slot"] for row in rows] == list(range(1, 501))
        for m in range(5):
            earned = made["5x5", "distmllm"].provider[:, :30, m, stage].astype(float)
            check(rows[29], f"provider_{m}", earned.mean(axis=1))
    for id_, axis, settings in (
        ("6a", "providers", {m: f"M={m},N=5" for m in (5, 6, 7, 8, 9, 10)}),
        ("6b", "workers", {n: f"M=10,N={n}" for n in (5, 10, 20, 30)}),
        ("7a", "cost share", {x: f"kappa={x:g}" for x in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)}),
    ):
        rows = drawn[id_].rows
        assert [row[axis] for row in rows] == list(settings)
        for row, name in ((row, name) for row in rows for name in ("distmllm", "ucb")):
            profit = made[settings[row[axis]], name].profit
            check(row, name, profit.sum(axis=(1, 2)) / 500)


def test_csv_has_the_rows_at_six_digits(panels):
    for panel in panels.values():
        lines = list(csv.DictReader(panel.csv().splitlines()))
        assert len(lines) == len(panel.rows)
        for line, row in zip(lines, panel.rows, strict=True):
            assert list(line) == list(row)
            assert [float(x) for x in line.values()] == pytest.approx(
                [float(x) for x in row.values()], rel=1e-5
            )


def test_drawings_have_a_line_per_policy(panels):
    for panel in panels.values():
        ax = Figure().add_subplot()
        panel.draw(ax)
        names = [name for name in panel.rows[0] if not name.endswith(" sd")][1:]
        assert len(ax.lines) == len(names)
        for line, name in zip(ax.lines, names, strict=True):
            np.testing.assert_allclose(line.get_ydata(), [row[name] for row in panel.rows])
        assert len({text.get_text() for text in ax.get_legend().get_texts()}) == len(names)
        assert ax.get_xlabel()
        assert ax.get_ylabel()


def test_one_run_has_no_band():
    mean, half = drawing.spread(np.array([[1.0, 2.0]]), "ci")
    assert (mean.tolist(), half.tolist()) == ([1.0, 2.0], [0.0, 0.0])


def test_ablations_compare_with_the_run_before_the_change(lab):
    (panel,) = ablations.panels(lab, "sd")
    rows = {(row["policy"], row["change"]): row for row in panel.rows}
    assert len(rows) == len(panel.rows) == len(ablations.CHANGES)
    for row in panel.rows:
        assert row["gain"] == pytest.approx(row["after %"] - row["before %"])
        assert row["low"] <= row["gain"] <= row["high"]

    def share(policy, keys, **options):
        scenario = Scenario.load("paper", {"slots": 60, **keys})
        record = play(scenario, load_policy(policy, **options), range(3))
        best = optimum(record.world).value * 60
        return 100 * (record.expected_profit.sum(axis=(1, 2, 3)) / best).mean()

    row = rows["distmllm", "the same, 10 providers"]
    assert row["before %"] == pytest.approx(share("distmllm", {"providers": 10}))
    assert row["after %"] == pytest.approx(share("distmllm", {"providers": 10}, mapping="exact"))
    row = rows["ucb", "the same, UCB"]
    assert row["before %"] == pytest.approx(share("ucb", {}))
    assert row["after %"] == pytest.approx(share("ucb", {"market.overload": "reject_all"}))


# A short run agrees with the one that was written down


def reference_rows(panel):
    """Every tenth slot, or all points of a sweep; numbers at twelve digits."""
    rows = [row for row in panel.rows if row.get("slot", 0) % 10 == 0]
    return [{key: f"{value:.12g}" for key, value in row.items()} for row in rows]


PANELS = ("4a", "4b", "4c", "4d", "5-enc", "5-llm", "6a", "6b", "7a", "7b")


def test_every_reference_is_compared(panels):
    assert tuple(panels) == PANELS
    assert {path.name for path in REFERENCE.iterdir()} == {f"{id_}.csv" for id_ in PANELS}
    assert all(path.stat().st_size < 30_000 for path in REFERENCE.iterdir())


@pytest.mark.parametrize("id_", PANELS)
def test_numbers_are_those_of_the_reference(panels, id_):
    """Relative and absolute tolerance 1e-9: the order of sums may differ, no decision may."""
    now = reference_rows(panels[id_])
    with (REFERENCE / f"{id_}.csv").open(encoding="utf-8", newline="") as file:
        then = list(csv.DictReader(file))
    assert [list(row) for row in now] == [list(row) for row in then]
    np.testing.assert_allclose(
        [[float(x) for x in row.values()] for row in now],
        [[float(x) for x in row.values()] for row in then],
        rtol=1e-9,
        atol=1e-9,
    )


# The ledger


@pytest.fixture(scope="module")
def findings(panels):
    return [finding for panel in panels.values() for finding in panel.findings]


@pytest.fixture(scope="module")
def rows(lab, findings):
    return ledger.ledger(findings, ledger.identity_error(lab), "the command")


def test_profit_and_regret_are_one(lab):
    assert ledger.identity_error(lab) < 1e-6


def test_two_optima_would_be_noticed():
    def make(_, who):
        run = curves(1.0, 1.0)
        return replace(run, best=run.best + 1e-3 * (who == "heu"))

    assert ledger.identity_error(Made(make)) == pytest.approx(0.5)


def test_ledger_lists_every_reading_in_the_order_of_the_paper(rows, findings):
    ids = [row["id"] for row in rows]
    assert ids == [id_ for id_ in IDS if id_[0] in "4567"]
    texts = {claim.id: (claim.where, claim.text) for claim in CLAIMS}
    for row in rows:
        mine = [finding for finding in findings if finding.claim == row["id"]]
        assert [r["reading"] for r in row["readings"]] == [f.reading for f in mine]
        assert [r["verdict"] for r in row["readings"]] == [f.verdict for f in mine]
        main = mine[0].weakest
        assert (row["hangs_on"], row["effect"]) == (main.what, main.effect)
        assert (row["low"], row["high"], row["runs"]) == (main.low, main.high, 3)
        assert (row["where"], row["claim"]) == texts[row["id"]]
        assert row["command"] == "the command"


def test_an_excluded_claim_cannot_hold_whatever_the_runs_say(rows, lab):
    excluded = {row["id"]: row for row in rows if row["verdict"] == "cannot hold"}
    assert {id_: row["excluded_by"] for id_, row in excluded.items()} == contradictions()
    for row in excluded.values():
        assert f"{ledger.identity_error(lab):.1e}" in row["proof"]
        assert f"{row['excluded_by']} and {row['id']} both claim" in row["proof"]
    assert "heu above ucb" in excluded["4c-final"]["proof"]
    assert "distmllm above ucb" in excluded["4d-early"]["proof"]
    assert not any("proof" in row for row in rows if row["id"] not in excluded)
    sure = [Finding("4c-final", "as read", (fact("a > b", 1.0),))]
    (row,) = ledger.ledger(sure, None, "")
    assert row["verdict"] == "cannot hold"
    assert row["readings"][0]["verdict"] == "reproduced"
    assert "identity holds" not in row["proof"]


def test_verdicts_of_the_ledger_are_computed(rows, findings, monkeypatch):
    monkeypatch.setattr(ledger, "contradictions", dict)
    for row in ledger.ledger(findings, None, ""):
        assert row["verdict"] == row["readings"][0]["verdict"]
        assert "excluded_by" not in row


def test_ledger_is_json(rows):
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_ledger_as_a_page(rows):
    piped = [rows[0] | {"claim": "a | b", "hangs_on": "|x| > |y|"}, *rows[1:]]
    page = ledger.markdown(piped, ["a note"])
    table = [cells(line) for line in page.splitlines() if line.startswith("|")]
    assert {len(line) for line in table} == {6}
    head, _, *body = table
    assert head[:4] == ["id", "where", "claim", "verdict"]
    assert [line[0] for line in body] == [row["id"] for row in rows]
    assert [line[3] for line in body] == [f"**{row['verdict']}**" for row in rows]
    for line, row in zip(body, rows, strict=True):
        assert line[5] == f"{row['effect']:.3g} [{row['low']:.3g}, {row['high']:.3g}]"
    assert (body[0][2], body[0][4]) == (r"a \| b", r"\|x\| > \|y\|")
    for row in rows:
        assert page.count(f"**{row['id']}**:") == 1
        for reading in row["readings"]:
            assert f"- {reading['reading']}: **{reading['verdict']}**" in page
    assert page.count("- cannot hold beside") == 2
    assert "- a note\n" in page
    counts = ledger.summary(rows)
    assert sum(counts.values()) == len(rows)
    for verdict, number in counts.items():
        assert f"{number} {verdict}" in page.splitlines()[2]


def test_facts_have_no_interval_on_the_page():
    certain = Finding("1a", "as read", (fact("a > b", 0.25),))
    page = ledger.markdown(ledger.ledger([certain], None, ""), [])
    assert "| a > b | 0.25 |" in page


# Robustness


def test_constants_are_drawn_the_same_way_every_time():
    draws = [robustness.constants(draw) for draw in range(30)]
    assert draws == [robustness.constants(draw) for draw in range(30)]
    assert len({json.dumps(draw) for draw in draws}) == 30


def test_constants_stay_within_what_is_documented():
    seen = {}
    for draw in range(300):
        keys = robustness.constants(draw)
        scenario = Scenario.load("paper", keys)
        ratios = {
            "enc_s": keys["latency.enc_scale_s"] / 0.3,
            "llm_s": keys["latency.llm_scale_s"] / 1.8,
            "enc_j": keys["energy.enc_j_per_mb"] / 0.2,
            "llm_j": keys["energy.llm_j_per_mb"] / 0.5,
            "mu": keys["energy.mu_j_per_mb"] / 0.1,
        }
        assert all(0.5 <= ratio <= 2.0 for ratio in ratios.values())
        others = {
            "exponent": (scenario.latency.exponent, 0.3, 1.0),
            "noise": (scenario.noise.std, 0.02, 0.3),
            "sizes": (scenario.data_bytes.high / 1e6 - 1.0, 0.1, 0.8),
            "prices": (scenario.price.high - 1.0, 0.0, 0.5),
        }
        for stage in ("enc", "llm"):
            joule = keys[f"energy.{stage}_j_per_mb"] + keys["energy.mu_j_per_mb"]
            cost = keys[f"latency.{stage}_scale_s"] / 0.9 + joule * 0.81
            gain = keys[f"reward.value_{stage}"] - cost
            others[f"gain of {stage}"] = (gain / cost, 0.2, 3.0)
            others[f"{stage} in money"] = (gain, 0.0, math.inf)
        assert others["enc in money"][0] <= others["llm in money"][0] + 1e-12
        for name, (value, low, high) in others.items():
            assert low - 1e-9 <= value <= high + 1e-9, name
            seen.setdefault(name, []).append((value - low) / (high - low))
        assert scenario.price.low + scenario.price.high == pytest.approx(2.0)
        assert scenario.data_bytes.low + scenario.data_bytes.high == pytest.approx(2e6)
        demand, capacity = scenario.demand, scenario.capacity
        assert (demand.low, demand.kind, capacity.kind) == (1, "integers", "integers")
        assert demand.high in (1, 2, 3)
        assert 2 * demand.high == capacity.low <= capacity.high <= capacity.low + 2
        kept = {"slots", "providers", "workers", "performance"}
        assert not kept & set(keys)
    for name, places in seen.items():  # the ranges are used
        if "money" not in name:
            assert min(places) < 0.05, name
            assert max(places) > 0.95, name


def test_worlds_of_the_draws_hold_both_tasks_of_any_provider():
    for draw in range(20):
        world = draw_world(Scenario.load("paper", robustness.constants(draw)), range(4))
        assert (2 * world.demand.max(axis=1) <= world.capacity[:, :-1].min(axis=1)).all()
        assert np.isfinite(world.mean_profit).all()


def test_shares_by_hand():
    def found(claim, reading, verdict, holds):
        return {"claim": claim, "reading": reading, "verdict": verdict, "holds": holds}

    open_ = "undetermined at 4 seeds"
    rows = robustness.shares(
        [
            [found("6a", "x", R, True), found("4a-final", "y", N, False)],
            [found("6a", "x", R, True), found("4a-final", "y", open_, True)],
            [found("6a", "x", N, False), found("4a-final", "y", open_, False)],
            [found("6a", "x", open_, True), found("4a-final", "z", R, True)],
        ]
    )
    keys = ("claim", "reading", "draws", "holds", "surely", "surely not")
    assert rows == [  # the paper's order
        dict(zip(keys, ("4a-final", "y", 3, 1 / 3, 0.0, 1 / 3), strict=True)),
        dict(zip(keys, ("4a-final", "z", 1, 1.0, 1.0, 0.0), strict=True)),
        dict(zip(keys, ("6a", "x", 4, 0.75, 0.5, 0.25), strict=True)),
    ]


def test_look_says_what_the_figures_say(monkeypatch, lab, findings):
    monkeypatch.setattr(robustness, "constants", lambda draw: {"slots": 10 * draw})
    answers = robustness.look(6, range(3))
    assert [(a["claim"], a["reading"], a["verdict"]) for a in answers] == [
        (f.claim, f.reading, f.verdict) for f in findings
    ]
    for answer, finding in zip(answers, findings, strict=True):
        assert answer["holds"] is (min(part.effect for part in finding.parts) > 0)


def test_an_interrupted_sweep_goes_on(tmp_path, monkeypatch):
    looked, steps = [], []

    def look(draw, seeds):
        looked.append(draw)
        if draw == stop:
            raise KeyboardInterrupt
        return [{"claim": "6a", "reading": "x", "verdict": R if draw else N, "holds": draw > 0}]

    def sweep(draws, seeds=(0, 1)):
        looked.clear()
        steps.clear()
        return robustness.robustness(draws, seeds, tmp_path, 1, lambda: steps.append(1)).rows

    monkeypatch.setattr(robustness, "look", look)
    stop = 2
    with pytest.raises(KeyboardInterrupt):
        sweep(4)
    assert looked == [0, 1, 2]
    stop = None
    rows = sweep(4)
    assert looked == [2, 3]
    assert len(steps) == 4
    assert [(row["draws"], row["surely"]) for row in rows] == [(4, 0.75)]
    assert sweep(4) == rows
    assert looked == []
    files = sorted(tmp_path.iterdir())
    assert len(files) == 4
    files[1].write_text(files[1].read_text()[:20])
    files[3].write_text("")
    assert sweep(4) == rows
    assert looked == [1, 3]
    assert sweep(3)[0]["draws"] == 3  # not those beyond
    sweep(2, seeds=(0, 2))
    assert looked == [0, 1]
    for what in ("module_sources", "policy_sources"):
        monkeypatch.setattr(robustness, what, lambda *of: Sources({"a.py": "edited"}, {}))
        sweep(2)
        assert looked == [0, 1]


def test_processes_change_nothing(tmp_path):
    rows = robustness.robustness(1, (0, 1), tmp_path, jobs=2).rows
    assert rows == robustness.shares([robustness.look(0, (0, 1))])


def test_robustness_can_be_drawn():
    look = {"claim": "6a", "reading": "as read", "verdict": R, "holds": True}
    open_ = look | {"verdict": "undetermined at 2 seeds"}
    no = look | {"claim": "7b", "verdict": N}
    rows = robustness.shares([[look, no], [open_, no]])
    ax = Figure().add_subplot()
    robustness._draw(ax, rows)
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches]
    assert bars == [(0, 0.5), (0, 0), (0.5, 0.5), (0, 0), (1, 0), (0, 1)]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels == ["6a: as read", "7b: as read"]


def test_the_published_ledger_is_what_comes_out():
    lab = Lab(range(20))
    panels = [p for m in (fig1, fig3, fig4, fig5, fig6, fig7) for p in m.panels(lab, "sd")]
    fresh = ledger.ledger([f for p in panels for f in p.findings], None, "")
    page = Path(__file__).parents[2] / "docs" / "reproduced" / "claims.json"
    published = {row["id"]: row for row in json.loads(page.read_text("utf-8"))}
    for row in fresh:
        kept = published[row["id"]]
        assert (row["verdict"], row["hangs_on"]) == (kept["verdict"], kept["hangs_on"])
        for one, other in zip(row["readings"], kept["readings"], strict=True):
            assert one["verdict"] == other["verdict"]
            assert one["effect"] == pytest.approx(other["effect"], rel=1e-9, abs=1e-9)
    assert {row["id"] for row in fresh} == {id_ for id_ in published if id_[0].isdigit()}


# The command


def command(*words):
    return CliRunner().invoke(app, ["reproduce", *words])


def test_experiments_are_the_panels_of_their_modules(lab):
    """``theory`` takes seconds and has its own test of these names."""
    claims = set()
    for name, (module, ids) in run.EXPERIMENTS.items():
        if name != "theory":
            made = module.panels(lab, "sd")
            assert tuple(panel.id for panel in made) == ids
            claims |= {finding.claim for panel in made for finding in panel.findings}
    assert claims == {id_ for id_ in IDS if id_[0].isdigit()}
    assert run.EXPERIMENTS["theory"][0] is theory
    every = [id_ for _, ids in run.EXPERIMENTS.values() for id_ in ids]
    assert len({*every, *run.EXPERIMENTS}) == len(every) + len(run.EXPERIMENTS) - 1  # ablations


def test_only_one_figure(tmp_path):
    words = ("--only", "4a", "--seeds", "2", "--out", str(tmp_path))
    answer = command(*words)
    assert answer.exit_code == 0, answer.output
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    kept = {name for name in files if name.startswith("runs/")}
    assert len(kept) == 3
    figure = {"figures/4a.png", "figures/4a.svg", "figures/4a.csv"}
    assert files - kept == {*figure, "claims-4a.json", "claims-4a.md"}
    assert (tmp_path / "figures/4a.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "figures/4a.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["slot"]) for line in lines] == list(range(1, 501))
    rows = json.loads((tmp_path / "claims-4a.json").read_text())
    assert [row["id"] for row in rows] == ["4a-early", "4a-final"]
    assert {row["command"] for row in rows} == {
        "distmllm reproduce --seeds 2 --base-seed 0 --only 4a"
    }
    page = (tmp_path / "claims-4a.md").read_text()
    assert "2 seeds from 0 on" in page
    for row in rows:
        assert f"| {row['id']} |" in page
        assert re.search(rf"(?m)^{row['id']} +{row['verdict']} +\S", answer.stdout)
    assert str(tmp_path / "claims-4a.md") in answer.stdout
    played = ["5x5: distmllm ...", "5x5: ucb ...", "5x5: heu ..."]
    assert answer.stderr.splitlines() == played

    again = command(*words, "--json")
    assert again.stderr == ""  # nothing is played
    document = json.loads(again.stdout)
    assert document["claims"] == rows
    assert sum(document["verdicts"].values()) == 2
    assert {Path(name).relative_to(tmp_path).as_posix() for name in document["files"]} == figure
    assert document["ledger"] == str(tmp_path / "claims-4a.md")
    assert document["seconds"] > 0


def test_groups_and_bands(tmp_path):
    words = ("--seeds", "2", "--base-seed", "7", "--out", str(tmp_path), "--json")
    answer = command("--only", "tables", "--only", "5-llm", "--band", "ci", *words)
    assert answer.exit_code == 0, answer.output
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"table-1.csv", "table-2.csv", "5-llm.csv", "5-llm.png", "5-llm.svg"}
    head, first = (tmp_path / "figures/5-llm.csv").read_text().splitlines()[:2]
    assert head.startswith("slot,provider_0,provider_0 ci,")
    record = play(Scenario.load("paper", slots=1), load_policy("distmllm"), (7, 8))
    assert float(first.split(",")[1]) == pytest.approx(record.profit[:, 0, 0, LLM].mean(), rel=1e-5)
    assert [row["id"] for row in json.loads(answer.stdout)["claims"]] == ["5-settle", "5-spread"]


def test_the_ledger_proves_what_it_excludes(tmp_path):
    answer = command("--only", "4", "--seeds", "2", "--out", str(tmp_path), "--json")
    rows = {row["id"]: row for row in json.loads(answer.stdout)["claims"]}
    assert {id_ for id_, row in rows.items() if row["verdict"] == "cannot hold"} == {
        "4c-final",
        "4d-early",
    }
    error = re.search(r"identity holds to (\S+)\.$", rows["4c-final"]["proof"])
    assert float(error[1]) < 1e-6
    assert "cannot hold beside 4a-final" in (tmp_path / "claims-4.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--robustness", "--only", "4a"), "no effect with --robustness"),
        (("--robustness", "--band", "ci"), "no effect with --robustness"),
        (("--only", "4aa"), "unknown figure '4aa'. Did you mean '4a'?"),
        (("--only", "4a", "--only", "tabels"), "Did you mean 'tables'?"),
        (("--only", "lemma1"), "Did you mean 'lemma-1'?"),
        (("--band", "cii"), "unknown band 'cii'. Did you mean 'ci'?"),
        (("--seeds", "1"), "'--seeds'"),
        (("--robustness", "--seeds", "1"), "'--seeds'"),
        (("--robustness", "--draws", "0"), "'--draws'"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_clear_message(tmp_path, words, message):
    answer = command(*words, "--out", str(tmp_path / "new"))
    assert answer.exit_code == 2
    assert message in answer.stderr
    assert answer.stdout == ""
    assert not (tmp_path / "new").exists()


def test_one_seed_is_too_few_for_an_interval(tmp_path):
    with pytest.raises(ValueError, match=r"number of seeds = 1 is not allowed: at least two"):
        run.reproduce(tmp_path, [0])
    with pytest.raises(ValueError, match=r"number of seeds = 1 is not allowed: at least two"):
        run.robust(tmp_path, [0], 1, 1)


def test_robustness_from_the_command_line(tmp_path):
    words = ("--robustness", "--draws", "1", "--seeds", "2", "--jobs", "1", "--out", str(tmp_path))
    answer = command(*words, "--json")
    assert answer.exit_code == 0, answer.output
    document = json.loads(answer.stdout)
    rows = document["robustness"]
    assert {row["claim"] for row in rows} == {id_ for id_ in IDS if id_[0] in "4567"}
    assert all(row["draws"] == 1 for row in rows)
    assert all(row["surely"] + row["surely not"] <= 1 for row in rows)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"robustness.csv", "robustness.png", "robustness.svg"}
    (kept,) = (tmp_path / "robustness").iterdir()
    assert len(json.loads(kept.read_text())) == len(rows)
    as_text = command(*words)
    lines = as_text.stdout.splitlines()
    assert len([line for line in lines if line.split(" ")[0] in IDS]) == len(rows)
    assert str(tmp_path / "figures") in lines[-1]


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    now = short_lab()
    for panel in (panel for module in FIGURES for panel in module.panels(now, "sd")):
        lines = reference_rows(panel)
        with (REFERENCE / f"{panel.id}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
