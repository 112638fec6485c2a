"""Training settings: what is shipped, what is allowed, and what a mistake is told."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distmllm_agents.learned.learner import CLASSES
from distmllm_agents.learned.settings import (
    ALGORITHMS,
    Arguments,
    Settings,
    load_settings,
    make_settings,
    presets,
)
from distmllm_env import schema

NAMES = ["a2c", "dqn", "maskable_ppo", "ppo", "ppo-equivariant"]
EQUIVARIANT = {"network": "equivariant", "observation": "statistics"}

# For each key: values that are not allowed, with a piece of what is said.
BAD: dict[str, list[tuple[Any, str]]] = {
    "algo": [("sac", "unknown value of algo 'sac'"), (3, "unknown value of algo 3")],
    "mode": [("centrl", "value of mode 'centrl'. Did you mean 'central'?")],
    "scenario": [(3, "scenario: expected str, got 3"), (["toy"], "scenario: expected str")],
    "slots": [
        (0, "slots = 0 is not allowed: at least 1"),
        (-5, "slots = -5"),
        (1e5, "slots: expected int, got 100000.0"),
        ("9", "slots: expected int, got '9'"),
        (True, "slots: expected int, got True"),
    ],
    "seed": [(-1, "seed = -1 is not allowed: at least 0"), (0.5, "seed: expected int")],
    "world": [("fixd", "value of world 'fixd'. Did you mean 'fixed'?")],
    "world_seed": [(-1, "world_seed = -1 is not allowed"), (None, "world_seed: expected int")],
    "observation": [("statistic", "value of observation 'statistic'. Did you mean 'statistics'?")],
    "network": [("transformer", "unknown value of network 'transformer'")],
    "reward": [("regrets", "value of reward 'regrets'. Did you mean 'regret'?")],
    "reward_scale": [
        (-0.1, "reward_scale = -0.1 is not allowed: at least 0"),
        (float("nan"), "reward_scale: expected a finite number, got nan"),
        (float("inf"), "reward_scale: expected a finite number, got inf"),
        ("1", "reward_scale: expected float, got '1'"),
    ],
    "markets": [(0, "markets = 0 is not allowed: at least 1"), (2.0, "markets: expected int")],
    "episode_slots": [(-1, "episode_slots = -1 is not allowed: at least 0")],
    "stagger": [(1, "stagger: expected bool, got 1"), ("yes", "stagger: expected bool")],
    "learning_rate": [
        (0.0, "learning_rate = 0.0 is not allowed: above 0"),
        (-1e-3, "learning_rate = -0.001"),
        (float("inf"), "learning_rate: expected a finite number"),
    ],
    "final_learning_rate": [(0.0, "final_learning_rate = 0.0 is not allowed")],
    "layers": [
        ([64, 0], "layers = (64, 0) is not allowed: each at least 1"),
        (64, "layers: expected a list, got 64"),
        ("64", "layers: expected a list, got '64'"),
        ([64, 6.5], "layers[1]: expected int, got 6.5"),
    ],
    "width": [(0, "width = 0 is not allowed: at least 1")],
    "depth": [(-1, "depth = -1 is not allowed: at least 0")],
    "act": [("sampel", "value of act 'sampel'. Did you mean 'sample'?")],
    "threads": [(0, "threads = 0 is not allowed: at least 1")],
    "evaluations": [(0, "evaluations = 0 is not allowed: at least 1")],
    "evaluation_runs": [(0, "evaluation_runs = 0 is not allowed: at least 1")],
    "checkpoints": [(0, "checkpoints = 0 is not allowed: at least 1")],
    "algorithm": [
        (3, "algorithm: expected a table, got 3"),
        ([["gamma", 0]], "algorithm: expected a table"),
    ],
}


class TestPresets:
    def test_names(self) -> None:
        assert presets() == NAMES

    @pytest.mark.parametrize("name", NAMES)
    def test_all_load_and_say_what_their_file_says(self, name: str) -> None:
        settings = load_settings(name)
        folder = files("distmllm_agents.learned") / "settings"
        told = tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))
        assert {key: settings.to_dict()[key] for key in told} == told
        assert settings.algo == name.partition("-")[0]
        assert (settings.network == "equivariant") == (name == "ppo-equivariant")

    @pytest.mark.parametrize("name", NAMES)
    def test_their_algorithms_know_their_arguments(self, name: str) -> None:
        settings = load_settings(name)
        known = inspect.signature(CLASSES[settings.algo][0]).parameters
        assert settings.algorithm
        assert set(settings.algorithm) <= set(known)

    def test_there_is_a_class_for_every_algorithm(self) -> None:
        assert set(CLASSES) == set(ALGORITHMS)


class TestValues:
    def test_every_key_is_tried(self) -> None:
        assert set(BAD) == {f.name for f in fields(Settings)}

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [(key, value, message) for key, tries in BAD.items() for value, message in tries],
    )
    def test_a_bad_value_is_named(self, key: str, value: Any, message: str) -> None:
        assert key in message
        for read in (
            lambda: make_settings({key: value}),
            lambda: load_settings("a2c", {key: value}),
        ):
            with pytest.raises(ValueError, match=re.escape(message)):
                read()

    @pytest.mark.parametrize(
        ("key", "least"),
        [
            ("slots", 1), ("seed", 0), ("world_seed", 0), ("reward_scale", 0), ("markets", 1),
            ("episode_slots", 0), ("width", 1), ("depth", 0), ("threads", 1), ("evaluations", 1),
            ("evaluation_runs", 1), ("checkpoints", 1),
        ],
    )  # fmt: skip
    def test_the_least_value_is_allowed(self, key: str, least: int) -> None:
        assert getattr(make_settings({key: least}), key) == least

    def test_no_hidden_layer_is_allowed(self) -> None:
        assert make_settings({"layers": []}).layers == ()

    @pytest.mark.parametrize(
        ("key", "nearest"),
        [
            ("slot", "slots"),
            ("learning_rates", "learning_rate"),
            ("evaluation_run", "evaluation_runs"),
            ("reward-scale", "reward_scale"),
            ("Mode", "mode"),
        ],
    )
    def test_an_unknown_key_gets_the_nearest_name(self, key: str, nearest: str) -> None:
        message = f"unknown training setting '{key}'. Did you mean '{nearest}'? Allowed: act, algo"
        with pytest.raises(ValueError, match=re.escape(message)):
            make_settings({key: 1})
        with pytest.raises(ValueError, match=re.escape(message)):
            load_settings("ppo", {key: 1})

    def test_defaults_are_allowed(self) -> None:
        assert make_settings({}) == Settings()


class TestCombinations:
    @pytest.mark.parametrize(
        "others",
        [
            {"algo": "dqn"},
            {"algo": "maskable_ppo"},
            {"mode": "shared"},
            {"mode": "independent"},
            {"observation": "last"},
        ],
    )
    def test_equivariant_needs(self, others: dict[str, Any]) -> None:
        message = (
            "network = 'equivariant' is not allowed: it needs mode = 'central', "
            "observation = 'statistics' and algo 'ppo' or 'a2c'"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            make_settings(EQUIVARIANT | others)

    @pytest.mark.parametrize("algo", ["ppo", "a2c"])
    def test_equivariant(self, algo: str) -> None:
        assert make_settings(EQUIVARIANT | {"algo": algo}).network == "equivariant"

    @pytest.mark.parametrize("mode", ["shared", "independent"])
    def test_regret_is_the_dispatchers(self, mode: str) -> None:
        message = "reward = 'regret' is not allowed: mode = 'central' only"
        with pytest.raises(ValueError, match=re.escape(message)):
            make_settings({"reward": "regret", "mode": mode})
        assert make_settings({"reward": "regret"}).reward == "regret"

    def test_dqn_cannot_sample(self) -> None:
        message = "act = 'sample' is not allowed: 'greedy': DQN has no distribution"
        with pytest.raises(ValueError, match=re.escape(message)):
            make_settings({"algo": "dqn", "act": "sample"})
        for algo in ("ppo", "a2c", "maskable_ppo"):
            assert make_settings({"algo": algo, "act": "sample"}).act == "sample"

    def test_the_fixed_world(self) -> None:
        assert make_settings({"world_seed": 7}).fixed_world == 7
        assert make_settings({"world_seed": 7, "world": "redrawn"}).fixed_world is None


class TestOverrides:
    def test_keys_and_arguments_of_the_algorithm(self) -> None:
        usual = load_settings("ppo")
        changed = load_settings("ppo", {"slots": 7, "algorithm.gamma": 0.5, "layers": [8]})
        assert (changed.slots, changed.layers) == (7, (8,))
        assert usual.algorithm["gamma"] == 0.0
        assert changed.algorithm == usual.algorithm | {"gamma": 0.5}
        assert changed.to_dict() | {"slots": usual.slots, "layers": list(usual.layers)} == (
            usual.to_dict() | {"algorithm": changed.to_dict()["algorithm"]}
        )

    def test_an_argument_that_the_preset_lacks(self) -> None:
        assert "verbose" not in load_settings("ppo").algorithm
        assert load_settings("ppo", {"algorithm.verbose": 1}).algorithm["verbose"] == 1

    def test_the_shipped_settings_stay(self) -> None:
        load_settings("ppo", {"algorithm.gamma": 0.5}).algorithm["gamma"] = 0.9
        assert load_settings("ppo").algorithm["gamma"] == 0.0

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"algo.gamma": 1}, "algo.gamma: algo is a value or a list, not a table"),
            ({"slots.gamma": 1}, "slots.gamma: slots is a value or a list, not a table"),
            ({"algorithms.gamma": 1}, "unknown training setting 'algorithms'"),
            ({"algorithm": 1}, "algorithm: expected a table, got 1"),
        ],
    )
    def test_wrong_ones(self, overrides: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            load_settings("ppo", overrides)


class TestFiles:
    def test_a_file_of_ones_own(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        file.write_text('algo = "a2c"\nslots = 12\n[algorithm]\ngamma = 0.25\n')
        for path in (file, str(file)):
            settings = load_settings(path, {"seed": 3})
            assert settings == make_settings(
                {"algo": "a2c", "slots": 12, "seed": 3, "algorithm": {"gamma": 0.25}}
            )

    def test_not_found(self, tmp_path: Path) -> None:
        path = tmp_path / "none.toml"
        with pytest.raises(ValueError, match="No such file") as caught:
            load_settings(path)
        assert repr(str(path)) in str(caught.value)

    def test_a_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "folder.toml"
        path.mkdir()
        with pytest.raises(ValueError, match="directory") as caught:
            load_settings(path)
        assert repr(str(path)) in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"algo = ", "Invalid value"),
            (b"slots 3", "Expected '='"),
            (b"slots = 3\nslots = 4", "overwrite"),
            (b"\xff\xfe\x00", "codec can't decode"),
            (b"PK\x03\x04", "Invalid|Expected"),
        ],
    )
    def test_not_toml(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "broken.toml"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            load_settings(path)
        assert repr(str(path)) in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("pppo", "unknown settings 'pppo'. Did you mean 'ppo'?"),
            ("ppo-equivarient", "Did you mean 'ppo-equivariant'?"),
            ("", "unknown settings ''"),
            ("../ppo", "unknown settings '../ppo'"),
            ("ppo.json", "unknown settings 'ppo.json'"),
        ],
    )
    def test_unknown_names(self, name: str, message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            load_settings(name)
        assert all(one in str(caught.value) for one in [*NAMES, "FILE.toml"])


ARGUMENTS = st.dictionaries(
    st.sampled_from(["gamma", "n_steps", "use_sde", "note", "train_freq"]),
    st.one_of(
        st.integers(-(2**40), 2**40),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.text(st.characters(codec="utf-8"), max_size=8),
        st.lists(st.integers(0, 9), max_size=3),
    ),
)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@hypothesis.settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.builds(
        Settings,
        algo=st.sampled_from(["ppo", "a2c", "maskable_ppo"]),
        mode=st.sampled_from(["central", "shared", "independent"]),
        scenario=st.text(st.characters(codec="utf-8"), max_size=8),
        slots=st.integers(1),
        world=st.sampled_from(["fixed", "redrawn"]),
        reward_scale=st.floats(0, allow_infinity=False),
        stagger=st.booleans(),
        learning_rate=POSITIVE,
        layers=st.lists(st.integers(1), max_size=4).map(tuple),
        act=st.sampled_from(["greedy", "sample"]),
        algorithm=ARGUMENTS.map(Arguments),
    )
)
def test_settings_survive_json_and_toml(settings: Settings) -> None:
    table = settings.to_dict()
    assert list(table) == [f.name for f in fields(Settings)]
    assert make_settings(table) == settings
    assert make_settings(json.loads(json.dumps(table))) == settings
    assert make_settings(tomllib.loads(schema.to_toml(table))) == settings


def test_a_table_is_a_copy() -> None:
    settings = load_settings("ppo")
    table = settings.to_dict()
    table["algorithm"]["gamma"] = 0.7
    table["layers"].append(3)
    assert settings == load_settings("ppo")
