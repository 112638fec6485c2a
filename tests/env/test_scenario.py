"""Scenarios: named ones are sound, files round-trip, and every wrong input says what is wrong."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distmllm_env import Distribution, Scenario, draw_world
from distmllm_env.scenario import Noise

NAMED = Scenario.names()
Wrong = tuple[Mapping[str, Any], tuple[str, ...]]


def reread(scenario: Scenario, folder: Path) -> Scenario:
    path = folder / "again.toml"
    path.write_text(scenario.to_toml(), encoding="utf-8")
    return Scenario.load(path)


def complaint(source: str | Path, overrides: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the callers read the text
        draw_world(Scenario.load(source, overrides), [0])
    return str(caught.value)


@pytest.mark.parametrize("name", NAMED)
class TestNamed:
    def test_is_called_what_its_file_is_called(self, name: str) -> None:
        scenario = Scenario.load(name)
        assert scenario.name == name
        assert scenario.description.endswith((".", "?"))

    def test_opens_with_a_comment_on_what_it_is_for(self, name: str) -> None:
        file = files("distmllm_env") / "scenarios" / f"{name}.toml"
        lines = file.read_text("utf-8").splitlines()
        opening = next(i for i, line in enumerate(lines) if not line.startswith("#"))
        assert len(" ".join(lines[:opening]).split()) > 20

    def test_can_be_drawn(self, name: str) -> None:
        scenario = Scenario.load(name)
        assert draw_world(scenario, range(20)).demand.shape == (20, scenario.providers)

    def test_round_trips_through_a_file(self, name: str, tmp_path: Path) -> None:
        scenario = Scenario.load(name)
        assert reread(scenario, tmp_path) == scenario
        assert Scenario.from_toml(scenario.to_toml()).to_toml() == scenario.to_toml()


def test_the_scenarios_of_the_package_are_there() -> None:
    assert {"toy", "paper", "crowd2", "slack", "scarce", "testbed"} <= set(NAMED)
    assert list(NAMED) == sorted(NAMED)


VARIANTS: dict[str, dict[str, Any]] = {
    "numbers": {"price": 1, "capacity": 1e22, "data_bytes": 1e-7, "slots": 1},
    "lists": {"performance": [0.8, 0.9, 1, 0.85, 0.7], "reward.value_enc": [1, 2, 3, 4, 0.1]},
    "tables": {"price": {"kind": "integers", "low": 1, "high": 3}},
    "worker factors": {"latency.worker_factor": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]},
    "quadratic": {"reward.shape": "quadratic", "reward.curvature_per_s2": 1 / 3},
    "deadline": {"reward.shape": "deadline", "reward.deadline_s": 0.1 + 0.2},
    "market": {"market.overload": "share", "market.capacity": "per_stage"},
    "no noise": {"noise": {"on": "none"}},
    "text": {"description": 'a "b" \\ c\n\td, é 日 😀 # [x]\r\x00\x1f\x7f'},
}


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_round_trips_through_a_file(overrides: dict[str, Any], tmp_path: Path) -> None:
    scenario = Scenario.load("paper", overrides)
    assert scenario != Scenario.load("paper")
    assert reread(scenario, tmp_path) == scenario


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    price=st.lists(st.floats(0, allow_infinity=False), min_size=5, max_size=5),
)
def test_any_text_and_any_number_survive_toml(text: str, price: list[float]) -> None:
    scenario = Scenario.load("paper", {"description": text, "price": price})
    again = tomllib.loads(scenario.to_toml())
    assert again["description"] == text
    assert again["price"] == price


class TestLoad:
    def test_dotted_keys_reach_into_tables(self) -> None:
        overrides = {"noise.std": 0.2, "noise.distribution": "lognormal", "price.high": 2}
        scenario = Scenario.load("paper", overrides)
        assert scenario.noise == Noise("latency_energy", "lognormal", 0.2)
        low = Scenario.load("paper").price.low
        assert scenario.price == Distribution("uniform", low, 2.0)
        deep = Scenario.load("testbed", {"testbed.data_scale.low": 0.5})
        assert deep.testbed is not None
        assert deep.testbed.data_scale == Distribution("uniform", 0.5, 1.25)

    def test_a_table_replaces_a_table(self) -> None:
        # distribution and std fall back to their defaults, not to what the file says
        scenario = Scenario.load("crowd2", {"noise": {"on": "reward"}})
        assert scenario.noise == Noise("reward", "uniform", 0.1)

    def test_keywords_are_top_level_keys_and_none_means_as_in_the_file(self) -> None:
        scenario = Scenario.load("paper", {"workers": 7}, providers=3, workers=None, slots=9)
        assert (scenario.providers, scenario.workers, scenario.slots) == (3, 7, 9)

    def test_keywords_win_over_overrides(self) -> None:
        assert Scenario.load("paper", {"providers": 3}, providers=4).providers == 4

    def test_none_as_an_override_removes_the_testbed(self) -> None:
        assert Scenario.load("testbed", {"testbed": None}).testbed is None

    def test_a_scenario_is_a_source_and_stays_as_it_is(self) -> None:
        source = Scenario.load("toy")
        changed = Scenario.load(source, {"noise.on": "reward"}, slots=3)
        assert (changed.noise.on, changed.slots) == ("reward", 3)
        assert source == Scenario.load("toy") == Scenario.load(source)
        with pytest.raises(dataclasses.FrozenInstanceError):
            source.slots = 3  # type: ignore[misc]

    def test_a_path_may_be_text_or_a_path(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text('name = "mine"\ndescription = "Mine."\n')
        assert Scenario.load(path) == Scenario.load(str(path))
        assert Scenario.load(path).name == "mine"

    def test_a_distribution_made_by_hand_is_checked_like_a_table(self) -> None:
        made = Distribution("uniform", 1.0, 2.0)
        assert Scenario.load("paper", {"price": made}).price == made
        values = Distribution("values", values=(0.8, 0.9, 1.0, 0.7, 0.6))  # low, high left at 0
        assert Scenario.load("paper", {"performance": values}).performance.low == 0.6
        for bad, text in (
            (Distribution("uniform", 2.0, 1.0), "price.low = 2.0 is not allowed: at most"),
            (Distribution("uniform", 1.0, math.nan), "price.high: expected a finite number"),
            (Distribution("values", values=()), "price = [] is not allowed"),
        ):
            assert text in complaint("paper", {"price": bad})


UNIFORM = {"kind": "uniform", "low": 1.0, "high": 2.0}

# What is wrong with `paper` (5 providers, 5 workers) -> what the message must hold.
WRONG: dict[str, Wrong] = {
    "unknown key": (
        {"provders": 3},
        ("unknown scenario key 'provders'", "Did you mean 'providers'?", "Allowed:", "workers"),
    ),
    "unknown table": ({"nois.std": 0.1}, ("scenario key 'nois'", "Did you mean 'noise'?")),
    "unknown key in a table": (
        {"noise.sdt": 0.1},
        ("key in [noise] 'sdt'", "Did you mean 'std'?", "Allowed: distribution, on, std"),
    ),
    "unknown key in a distribution": (
        {"demand.lo": 1},
        ("unknown key in demand 'lo'", "Did you mean 'low'?", "Allowed: high, kind, low"),
    ),
    "unknown key, nothing near": ({"zzz": 1}, ("scenario key 'zzz'. Allowed: capacity, ",)),
    "path through a value": (
        {"slots.std": 1},
        ("slots.std: slots is a value or a list, not a table",),
    ),
    "table that is a value": ({"noise": 0.1}, ("noise: expected a table, got 0.1",)),
    "unknown kind": (
        {"price": {**UNIFORM, "kind": "uniforn"}},
        ("price.kind 'uniforn'", "Did you mean 'uniform'?", "Allowed: integers, uniform"),
    ),
    "no kind": ({"price": {"low": 1, "high": 2}}, ("price.kind None", "integers, uniform")),
    "no low": ({"price": {"kind": "uniform", "high": 2}}, ("price.low: this key is missing",)),
    "unknown overload": (
        {"market.overload": "rejectall"},
        ("market.overload 'rejectall'", "'reject_all'", "random, reject_all, share"),
    ),
    "unknown pool": ({"market.capacity": "per-stage"}, ("'per-stage'", "'per_stage'", "shared")),
    "unknown shape": ({"reward.shape": "quadratc"}, ("reward.shape 'quadratc'", "'quadratic'")),
    "unknown noise": ({"noise.on": "rewards"}, ("noise.on 'rewards'", "'reward'", "none")),
    "unknown noise distribution": (
        {"noise.distribution": "gauss"},
        ("noise.distribution 'gauss'", "Allowed: lognormal, normal, uniform"),
    ),
    # not a finite number
    "nan": ({"noise.std": math.nan}, ("noise.std: expected a finite number, got nan",)),
    "inf": ({"price": math.inf}, ("price: expected a finite number, got inf",)),
    "minus inf": ({"reward.value_enc": -math.inf}, ("reward.value_enc: ", "finite", "-inf")),
    "nan in a list": ({"price": [1, 1, math.nan, 1, 1]}, ("price[2]: ", "finite", "nan")),
    "inf in a table": ({"price": {**UNIFORM, "high": math.inf}}, ("price.high: ", "finite", "inf")),
    # the wrong type
    "float for int": ({"slots": 5.0}, ("slots: expected int, got 5.0",)),
    "text for int": ({"slots": "5"}, ("slots: expected int, got '5'",)),
    "bool for int": ({"workers": True}, ("workers: expected int, got True",)),
    "bool for float": ({"price": True}, ("price: expected float, got True",)),
    "bool in a list": ({"price": [True] * 5}, ("price[0]: expected float, got True",)),
    "text for float": ({"noise.std": "0.1"}, ("noise.std: expected float, got '0.1'",)),
    "int for text": ({"name": 3}, ("name: expected str, got 3",)),
    "none for float": ({"noise.std": None}, ("noise.std: expected float, got None",)),
    # out of range
    "no slots": ({"slots": 0}, ("slots = 0 is not allowed: at least 1",)),
    "no providers": ({"providers": 0}, ("providers = 0 is not allowed: at least 1",)),
    "no workers": ({"workers": 0}, ("workers = 0 is not allowed: at least 1",)),
    "negative slots": ({"slots": -3}, ("slots = -3 is not allowed: at least 1",)),
    "negative capacity": ({"capacity": -1}, ("capacity = -1.0 is not allowed: at least 0",)),
    "one negative capacity": (
        {"capacity": [4, 4, -2, 4, 4]},
        ("capacity = -2.0 is not", "at least 0"),
    ),
    "negative price": ({"price": -0.1}, ("price = -0.1 is not allowed: at least 0",)),
    "negative tensor": ({"tensor_bytes": -1}, ("tensor_bytes = -1.0 is", "at least 0")),
    "no demand": ({"demand": 0}, ("demand = 0.0 is not allowed: above 0",)),
    "no data": ({"data_bytes": 0}, ("data_bytes = 0.0 is not allowed: above 0",)),
    "no performance": ({"performance.low": 0}, ("performance = 0.0 is not allowed: above 0",)),
    "low above high": (
        {"demand": {"kind": "integers", "low": 3, "high": 1}},
        ("demand.low = 3.0 is not allowed: at most demand.high = 1.0",),
    ),
    "integers that are not": (
        {"demand": {"kind": "integers", "low": 0.5, "high": 2}},
        ("demand = (0.5, 2.0) is not allowed: whole numbers for kind 'integers'",),
    ),
    "empty list": ({"price": []}, ("price = [] is not allowed: at least one value",)),
    "enc scale": ({"latency.enc_scale_s": 0}, ("latency.enc_scale_s = 0.0 is", "above 0")),
    "llm scale": ({"latency.llm_scale_s": -1}, ("latency.llm_scale_s = -1.0 is", "above 0")),
    "exponent 0": ({"latency.exponent": 0}, ("latency.exponent = 0.0", "(0, 1]", "concave")),
    "exponent above 1": ({"latency.exponent": 1.1}, ("latency.exponent = 1.1", "(0, 1]")),
    "worker factor": ({"latency.worker_factor": 0}, ("latency.worker_factor = 0.0", "above 0")),
    "enc energy": ({"energy.enc_j_per_mb": -1}, ("energy.enc_j_per_mb = -1.0", "at least 0")),
    "llm energy": ({"energy.llm_j_per_mb": -1}, ("energy.llm_j_per_mb = -1.0", "at least 0")),
    "mu": ({"energy.mu_j_per_mb": -1}, ("energy.mu_j_per_mb = -1.0 is not", "at least 0")),
    "enc weight": ({"reward.enc_weight_per_s": -1}, ("enc_weight_per_s = -1.0", "at least 0")),
    "llm weight": ({"reward.llm_weight_per_s": -1}, ("llm_weight_per_s = -1.0", "at least 0")),
    "transfer": (
        {"market.transfer_cost_per_mb": -1},
        ("transfer_cost_per_mb = -1.0", "at least 0"),
    ),
    # reward shapes and the keys that belong to them
    "convex": (
        {"reward.shape": "quadratic", "reward.curvature_per_s2": -0.5},
        ("reward.curvature_per_s2 = -0.5 is not allowed: at least 0",),
    ),
    "curvature of affine": (
        {"reward.curvature_per_s2": 0.5},
        ("reward.curvature_per_s2 = 0.5 is not allowed: 0 unless quadratic",),
    ),
    "curvature of deadline": (
        {"reward.shape": "deadline", "reward.curvature_per_s2": 0.5},
        ("reward.curvature_per_s2 = 0.5 is not allowed: 0 unless quadratic",),
    ),
    "deadline of affine": (
        {"reward.deadline_s": 0.5},
        ("reward.deadline_s = 0.5 is not allowed: 0 unless deadline",),
    ),
    "deadline of quadratic": (
        {"reward.shape": "quadratic", "reward.deadline_s": 0.5},
        ("reward.deadline_s = 0.5 is not allowed: 0 unless deadline",),
    ),
    # noise: what it acts on and how it is distributed
    "negative noise": ({"noise.std": -0.1}, ("noise.std = -0.1 is not allowed: at least 0",)),
    "normal latency": (
        {"noise.distribution": "normal"},
        (
            "noise.distribution = 'normal' is not",
            "'uniform' or 'lognormal'",
            "latency stays positive",
        ),
    ),
    "uniform latency below 0": (
        {"noise.std": 0.58},
        ("noise.std = 0.58 is not allowed: below 0.577 for 'uniform'",),
    ),
    "lognormal reward": (
        {"noise.on": "reward", "noise.distribution": "lognormal"},
        ("noise.distribution = 'lognormal' is not allowed: 'uniform' or 'normal'",),
    ),
    "lognormal nothing": (
        {"noise.on": "none", "noise.distribution": "lognormal"},
        ("noise.distribution = 'lognormal' is not allowed", "unless noise.on = 'latency_energy'"),
    ),
    # a demand that fits nowhere
    "demand above all capacities": (
        {"demand": [1, 2, 7, 1, 1], "capacity": [4, 5, 6, 4, 4]},
        ("demand = 7 of provider_2", "ENC", "none of the 5 workers", "capacities 4, 5, 6, 4, 4"),
    ),
    "no capacity at all": (
        {"market.overload": "share", "capacity": 0, "demand": 1},
        ("demand = 1 of provider_0", "capacities 0, 0, 0, 0, 0"),
    ),
}


@pytest.mark.parametrize(("overrides", "parts"), WRONG.values(), ids=WRONG)
def test_wrong_key_or_value(overrides: Mapping[str, Any], parts: tuple[str, ...]) -> None:
    text = complaint("paper", overrides)
    for part in parts:
        assert part in text


# Each is at the edge of what is allowed.
RIGHT: dict[str, dict[str, Any]] = {
    "curvature of quadratic": {"reward.shape": "quadratic", "reward.curvature_per_s2": 0.5},
    "deadline of deadline": {"reward.shape": "deadline", "reward.deadline_s": 0.5},
    "deadline 0": {"reward.shape": "deadline"},
    "linear psi": {"latency.exponent": 1},
    "uniform latency": {"noise.std": 0.577},
    "wide lognormal": {"noise.distribution": "lognormal", "noise.std": 2.0},
    "normal reward": {"noise.on": "reward", "noise.distribution": "normal", "noise.std": 3.0},
    "uniform reward": {"noise.on": "reward", "noise.std": 3.0},
    "normal nothing": {"noise.on": "none", "noise.distribution": "normal"},
    "nothing for free": {"price": 0, "energy.mu_j_per_mb": 0, "tensor_bytes": 0, "noise.std": 0},
    "one of each": {"providers": 1, "workers": 1, "slots": 1},
    "low equals high": {"price": {"kind": "uniform", "low": 1, "high": 1}},
    "demand equals capacity": {"demand": 4, "capacity": [4, 0, 0, 0, 0]},
    "demand above capacity, but shared": {"demand": 9, "market.overload": "share"},
}


@pytest.mark.parametrize("overrides", RIGHT.values(), ids=RIGHT)
def test_what_is_just_allowed(overrides: dict[str, Any]) -> None:
    draw_world(Scenario.load("paper", overrides), [0])


@pytest.mark.parametrize(
    ("key", "needed", "unit"),
    [
        ("performance", 5, "worker"),
        ("price", 5, "worker"),
        ("capacity", 5, "worker"),
        ("data_bytes", 3, "provider"),
        ("demand", 3, "provider"),
        ("tensor_bytes", 3, "provider"),
        ("reward.value_enc", 3, "provider"),
        ("reward.value_llm", 3, "provider"),
        (
            "latency.worker_factor",
            10,
            "stage of each worker (ENC and LLM of worker 0, then of worker 1, ...)",
        ),
        ("testbed.data_scale", 3, "provider"),
        ("testbed.output_scale", 3, "provider"),
    ],
)
def test_a_list_has_one_value_for_each(key: str, needed: int, unit: str) -> None:
    source = "testbed" if key.startswith("testbed") else "paper"
    for count in (1, needed - 1, needed + 1):
        values = [1.0] * count
        text = complaint(source, {"providers": 3, "workers": 5, key: values})
        assert f"{key} = {values} has {count} values" in text
        assert f"one per {unit} is needed: {needed}." in text
    draw_world(Scenario.load(source, {"providers": 3, "workers": 5, key: [5.0] * needed}), [0])


class TestDraw:
    U = np.array([[0.0, 0.25, 0.5], [0.75, 1 - 2.0**-53, 1 / 3]])

    def drawn(self, value: Any) -> list[list[float]]:
        return (
            Distribution.from_value(value, "price")
            .draw(lambda count: self.U[:, :count], 3)
            .tolist()
        )

    def test_uniform(self) -> None:
        found = self.drawn({"kind": "uniform", "low": 2, "high": 6})
        assert found[0] == [2.0, 3.0, 4.0]
        assert found[1] == pytest.approx([5.0, 6.0, 2 + 4 / 3], rel=1e-15)

    def test_integers_are_equally_likely_and_both_ends_are_among_them(self) -> None:
        # 1 below 1/3, 2 below 2/3, 3 above
        assert self.drawn({"kind": "integers", "low": 1, "high": 3}) == [[1, 1, 2], [3, 3, 2]]
        assert self.drawn({"kind": "integers", "low": -1, "high": 0}) == [[-1, -1, 0], [0, 0, -1]]
        assert self.drawn({"kind": "integers", "low": 4, "high": 4}) == [[4, 4, 4]] * 2

    @pytest.mark.parametrize("high", [2**k + d for k in range(1, 21) for d in (-1, 0, 1)])
    def test_the_largest_number_below_1_gives_the_high_end(self, high: int) -> None:
        for low in (0, 1):
            one = Distribution("integers", float(low), float(high))
            assert one.draw(lambda count: np.full((1, count), 1 - 2.0**-53), 1) == [[high]]

    @pytest.mark.parametrize("value", [5, [3, 1, 2]])
    def test_constants_and_lists_take_no_numbers(self, value: Any) -> None:
        def never(count: int) -> np.ndarray:
            raise AssertionError("nothing is drawn")

        found = Distribution.from_value(value, "price").draw(never, 3)
        assert found.tolist() == ([5, 5, 5] if value == 5 else [3, 1, 2])


class TestSource:
    def test_unknown_scenario(self) -> None:
        text = complaint("papr")
        assert "unknown scenario 'papr'. Did you mean 'paper'? Allowed: " in text
        assert text.endswith(f"Allowed: {', '.join(NAMED)}.")

    def test_missing_file(self) -> None:
        assert complaint("no/such.toml") == "scenario file 'no/such.toml' does not exist."

    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("slots = = 3", ("bad.toml", "not valid TOML", "line 3")),
            ("price = nan", ("price: expected a finite number, got nan",)),
            ("[noise]\nstd = -inf", ("noise.std: expected a finite number, got -inf",)),
            ("[noise]\nstdd = 1.0", ("key in [noise] 'stdd'", "'std'")),
            ("wrokers = 3", ("scenario key 'wrokers'", "'workers'")),
            ("slots = true", ("slots: expected int, got True",)),
        ],
    )
    def test_wrong_file(self, text: str, parts: tuple[str, ...], tmp_path: Path) -> None:
        path = tmp_path / "bad.toml"
        path.write_text(f'name = "bad"\ndescription = "Bad."\n{text}')
        message = complaint(path)
        for part in parts:
            assert part in message

    def test_file_without_a_name(self, tmp_path: Path) -> None:
        path = tmp_path / "bad.toml"
        path.write_text("slots = 3")
        assert complaint(path) == "name: this key is missing and has no default."


APP = {
    "encoder": "vit-b16-224",
    "llm": "llama-2-7b-q4",
    "input_bytes": 1e6,
    "prompt_tokens": 300,
    "output_tokens": 60,
    "demand": 1,
    "value_enc": 2.0,
    "value_llm": 2.0,
}
WORKER = {"device": "rtx-4090-24gb", "link": "ethernet-1g", "capacity": 4}


def apps(**changes: Any) -> dict[str, Any]:
    return {"testbed.apps": [{**APP, **changes}]}


def workers(**changes: Any) -> dict[str, Any]:
    return {"testbed.workers": [WORKER, {**WORKER, **changes}]}


WRONG_TESTBED: dict[str, Wrong] = {
    "device": (
        workers(device="rtx-4090"),
        ("testbed.workers[1].device", "'rtx-4090'", "Did you mean 'rtx-4090-24gb'?", "a100-80gb"),
    ),
    "device file": (workers(device="my.toml"), ("testbed.workers[1].device", "'my.toml'", "exist")),
    "link": (
        workers(link="ethernet"),
        ("testbed.workers[1].link 'ethernet'", "Did you mean 'ethernet-1g'?", "wifi6-share"),
    ),
    "encoder": (
        apps(encoder="vit-b16"),
        ("testbed.apps[0].encoder 'vit-b16'", "Did you mean 'vit-b16-224'?", "flava-full"),
    ),
    "llm": (
        apps(llm="llama-2-7b"),
        ("testbed.apps[0].llm 'llama-2-7b'", "Did you mean 'llama-2-7b-q4'?", "llama-2-70b-q4"),
    ),
    "llm as an encoder": (
        apps(encoder="llama-2-7b-q4"),
        ("encoder 'llama-2-7b-q4'", "vit-b16-224"),
    ),
    "encoder as an llm": (apps(llm="vit-b16-224"), ("testbed.apps[0].llm 'vit-b16-224'", "llama")),
    "unknown key of an app": (
        apps(inputbytes=1),
        ("key in [testbed.apps[0]] 'inputbytes'", "Did you mean 'input_bytes'?"),
    ),
    "unknown key of a worker": (
        workers(capactiy=1),
        ("key in [testbed.workers[1]] 'capactiy'", "Did you mean 'capacity'?"),
    ),
    "path through a list": (
        {"testbed.apps.demand": 1},
        ("testbed.apps.demand: testbed.apps is a value or a list, not a table",),
    ),
    "unknown key": ({"testbed.data": 1}, ("key in [testbed] 'data'", "'data_scale'")),
    "text for a number": (apps(demand="1"), ("testbed.apps[0].demand: expected float, got '1'",)),
    "nan": (apps(value_llm=math.nan), ("testbed.apps[0].value_llm: expected a finite number",)),
    "no demand": (apps(demand=0), ("testbed.apps.demand = 0.0 is not allowed: above 0",)),
    "no input": (apps(input_bytes=0), ("testbed.apps.input_bytes = 0.0 is", "above 0")),
    "no prompt": (apps(prompt_tokens=0), ("testbed.apps.prompt_tokens = 0.0 is", "above 0")),
    "no output": (apps(output_tokens=-1), ("testbed.apps.output_tokens = -1.0 is", "above 0")),
    "capacity": (workers(capacity=-1), ("testbed.workers.capacity = -1.0 is", "at least 0")),
    "no apps": ({"testbed.apps": []}, ("testbed.apps = [] is not allowed: at least one app",)),
    "no workers": ({"testbed.workers": []}, ("testbed.workers = []", "at least one worker")),
    "apps as text": ({"testbed.apps": "all"}, ("testbed.apps: expected a list, got 'all'",)),
    "data scale": ({"testbed.data_scale": 0}, ("testbed.data_scale = 0.0 is not", "above 0")),
    "output scale": ({"testbed.output_scale": 0}, ("testbed.output_scale = 0.0", "above 0")),
    "demand too large": (
        {**apps(demand=5), "workers": 2, "providers": 1},
        ("demand = 5 of provider_0", "ENC", "none of the 2 workers", "capacities 4, 4"),
    ),
    "model that nobody can hold": (
        {**apps(llm="llama-2-70b-q4"), **workers(), "workers": 2},
        ("demand = 1 of provider_0", "LLM", "none of the 2 workers", "can run its model"),
    ),
}


@pytest.mark.parametrize(("overrides", "parts"), WRONG_TESTBED.values(), ids=WRONG_TESTBED)
def test_wrong_testbed(overrides: dict[str, Any], parts: tuple[str, ...]) -> None:
    base = {**apps(), **workers(), "workers": 2, "providers": 2}
    text = complaint("testbed", base | overrides)
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"data_bytes": 2e6}, "data_bytes"),
        ({"demand": 1}, "demand"),
        ({"capacity": 4}, "capacity"),
        ({"tensor_bytes": 2e6}, "tensor_bytes"),
        ({"latency.exponent": 1.0}, "latency"),
        ({"latency.worker_factor": 2.0}, "latency"),
        ({"energy.mu_j_per_mb": 0.0}, "energy"),
        ({"reward.value_enc": 1.0}, "reward.value_enc"),
        ({"reward.value_llm": 1.0}, "reward.value_llm"),
    ],
)
def test_a_key_that_has_no_effect_on_a_testbed_is_refused(
    overrides: dict[str, Any], key: str
) -> None:
    text = complaint("testbed", overrides)
    assert re.match(rf"{re.escape(key)} has no effect with a testbed; .*testbed\.", text)
