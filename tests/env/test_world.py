"""Worlds: shapes, seeds, tables worked by hand, testbed pairs worked from the profiles' numbers."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distmllm_env import ENC, LLM, Scenario, World, draw_world
from distmllm_env.equations import noise_effect
from distmllm_env.slot import play_slot
from distmllm_env.testbed import why_infeasible

SHAPES = {
    "performance": "BN",
    "demand": "BM",
    "data_bytes": "BM",
    "tensor_bytes": "BM",
    "capacity": "BC",
    "price": "BC",
    "value": "BSM",
    "latency_s": "BSMC",
    "energy_j": "BSMC",
    "feasible": "BSMC",
    "transfer_cost": "BM",
    "mean_profit": "BSMC",
    "profit_std": "BSMC",
}
"""Every table and its axes; C is N + 1, the workers and defer."""

VARIED: dict[str, dict[str, Any]] = {
    "quadratic": {"reward.shape": "quadratic", "reward.curvature_per_s2": 0.3},
    "deadline": {"reward.shape": "deadline", "reward.deadline_s": 1.0},
    "lognormal deadline": {
        "reward.shape": "deadline",
        "reward.deadline_s": 1.0,
        "noise.distribution": "lognormal",
        "noise.std": 0.4,
    },
    "factors": {"latency.worker_factor": {"kind": "uniform", "low": 0.5, "high": 2.0}},
    "drawn values": {"reward.value_llm": {"kind": "uniform", "low": 3, "high": 5}},
    "shared values": {
        "reward.value_enc": {"kind": "uniform", "low": 3, "high": 5},
    },
    "transfer": {
        "market.transfer_cost_per_mb": 0.5,
        "tensor_bytes": {"kind": "uniform", "low": 1e5, "high": 2e6},
    },
    "7 x 11": {"providers": 7, "workers": 11},
}
SCENARIOS = {name: Scenario.load(name) for name in Scenario.names()}
SCENARIOS |= {name: Scenario.load("paper", overrides) for name, overrides in VARIED.items()}


def bits(world: World) -> dict[str, bytes]:
    return {name: getattr(world, name).tobytes() for name in SHAPES}


def full(world: World) -> dict[str, Any]:
    """Every table of a world and of what is read from it in a slot; all of them are then cached."""
    layout = {
        name: table if table is None else (table.shape, table.tobytes())
        for name, table in world.layout._asdict().items()
    }
    pace = {f"mean {name}": table.tobytes() for name, table in world.pace._asdict().items()}
    return bits(world) | layout | pace | {"everywhere": world.feasible_everywhere}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
class TestTables:
    def test_shapes_and_dtypes(self, scenario: Scenario) -> None:
        world = draw_world(scenario, [3, 1, 4])
        m, n = scenario.providers, scenario.workers
        axes = {"B": 3, "S": 2, "M": m, "N": n, "C": n + 1}
        for name, letters in SHAPES.items():
            table = getattr(world, name)
            assert table.shape == tuple(axes[letter] for letter in letters), name
            assert table.dtype == (bool if name == "feasible" else np.float64), name
            assert not np.isnan(table).any(), name
        assert (world.batch, world.seeds, world.episodes) == (3, (3, 1, 4), (0, 0, 0))

    def test_last_column_is_defer(self, scenario: Scenario) -> None:
        world = draw_world(scenario, [3, 1, 4])
        assert (world.capacity[:, -1] == np.inf).all()
        assert world.feasible[..., -1].all()
        for name in ("price", "latency_s", "energy_j", "mean_profit", "profit_std"):
            assert (getattr(world, name)[..., -1] == 0).all(), name

    def test_what_cannot_run_has_no_end_and_earns_nothing(self, scenario: Scenario) -> None:
        world = draw_world(scenario, range(5))
        never = ~world.feasible
        assert np.isinf(world.latency_s[never]).all()
        assert np.isinf(world.energy_j[never]).all()
        assert (world.mean_profit[never] == 0).all()
        assert (world.profit_std[never] == 0).all()
        for name in ("latency_s", "energy_j"):
            assert (getattr(world, name)[..., :-1][world.feasible[..., :-1]] > 0).all()

    def test_a_row_of_a_batch_is_the_single_draw_bit_for_bit(self, scenario: Scenario) -> None:
        seeds = [0, 7, 2**40, 1, 7]
        batch = draw_world(scenario, seeds, episodes=2)
        for b, seed in enumerate(seeds):
            single = bits(draw_world(scenario, [seed], episodes=2))
            row = bits(batch.row(b))
            for name in SHAPES:
                assert getattr(batch, name)[b : b + 1].tobytes() == single[name], name
                assert row[name] == single[name], name
        assert (batch.row(2).seeds, batch.row(2).episodes) == ((2**40,), (2,))

    def test_each_row_may_have_an_episode_of_its_own(self, scenario: Scenario) -> None:
        seeds, episodes = [3, 3, 2**64 + 1, 5], [4, 0, 1, 4]
        batch = draw_world(scenario, seeds, episodes)
        assert (batch.seeds, batch.episodes) == (tuple(seeds), tuple(episodes))
        for b, (seed, episode) in enumerate(zip(seeds, episodes, strict=True)):
            single, row = draw_world(scenario, [seed], [episode]), batch.row(b)
            assert row.episodes == single.episodes == (episode,)
            assert bits(row) == bits(single) == bits(draw_world(scenario, [seed], episode))

    def test_rows_can_be_overwritten(self, scenario: Scenario) -> None:
        world = draw_world(scenario, [3, 1, 4, 1], [0, 0, 0, 5])
        full(world)  # so that everything is there that must be computed anew
        other = draw_world(scenario, [7, 2**64], [2, 5])
        theirs, first = full(other), world.row(1)
        world.overwrite(np.array([True, False, True, False]), other)
        seeds, episodes = (7, 1, 2**64, 1), (2, 0, 5, 5)
        assert (world.seeds, world.episodes) == (seeds, episodes)
        assert full(world) == full(draw_world(scenario, seeds, episodes))
        for b, (seed, episode) in enumerate(zip(seeds, episodes, strict=True)):
            assert full(world.row(b)) == full(draw_world(scenario, [seed], episode))
        assert full(first) == full(draw_world(scenario, [1], 0))
        # Once more, without anything computed in between; what was copied in stays as it was.
        world.overwrite(np.array([False, False, True, True]), draw_world(scenario, [8, 9]))
        assert full(world) == full(draw_world(scenario, (7, 1, 8, 9), (2, 0, 0, 0)))
        assert full(other) == theirs
        world.overwrite(np.ones(4, bool), draw_world(scenario, [0, 1, 2, 3], 1))
        assert full(world) == full(draw_world(scenario, [0, 1, 2, 3], 1))


def test_overwriting_may_bring_in_or_take_away_what_cannot_run() -> None:
    capacity = {"kind": "integers", "low": 1, "high": 3}
    scenario = Scenario.load("paper", {"demand": 2, "capacity": capacity}, providers=1, workers=2)
    everywhere, somewhere = [], []
    for seed in range(60):
        with contextlib.suppress(ValueError):  # runs nowhere
            feasible = draw_world(scenario, [seed]).feasible.all()
            (everywhere if feasible else somewhere).append(seed)
    free, mixed = everywhere[:2], somewhere[:2]
    world = draw_world(scenario, free)
    assert full(world)["runs"] is None
    world.overwrite(np.array([False, True]), draw_world(scenario, mixed[:1]))
    assert full(world)["runs"] is not None
    assert full(world) == full(draw_world(scenario, [free[0], mixed[0]]))
    world.overwrite(np.array([False, True]), draw_world(scenario, free[1:]))
    assert full(world) == full(draw_world(scenario, free))


class TestSeeds:
    def test_the_same_seed_and_episode_give_the_same_world(self) -> None:
        paper = Scenario.load("paper")
        assert bits(draw_world(paper, [5], 3)) == bits(draw_world(paper, [5], 3))

    def test_all_other_worlds_differ(self) -> None:
        paper = Scenario.load("paper")
        pairs = [(seed, episode) for seed in range(6) for episode in range(6)]
        prices = {draw_world(paper, [seed], episode).price.tobytes() for seed, episode in pairs}
        assert len(prices) == len(pairs)

    @pytest.mark.parametrize(
        ("seeds", "episode", "text"),
        [
            ([], 0, "seeds = () is not allowed: at least one seed"),
            ([1, -2], 0, "seed = -2 is not allowed: a whole number, at least 0"),
            ([1.5], 0, "seed = 1.5 is not allowed: a whole number, at least 0"),
            ([1], -1, "episode = -1 is not allowed: at least 0"),
            ([1, 2], [0, -3], "episode = -3 is not allowed: at least 0"),
            ([1, 2], [0], "episodes = [0] is not allowed: one, or 2, one per seed"),
            ([1], [0, 1], "episodes = [0, 1] is not allowed: one, or 1, one per seed"),
        ],
    )
    def test_wrong_seeds(self, seeds: list[Any], episode: Any, text: str) -> None:
        with pytest.raises(ValueError, match=re.escape(text)):
            draw_world(Scenario.load("toy"), seeds, episode)

    def test_seeds_of_numpy_will_do(self) -> None:
        toy = Scenario.load("toy")
        assert draw_world(toy, np.array([3, 4])).seeds == (3, 4)  # type: ignore[arg-type]
        found = draw_world(Scenario.load("paper"), [3, 4], np.array([1, 2]))  # type: ignore[arg-type]
        assert found.episodes == (1, 2)
        assert bits(found) == bits(draw_world(Scenario.load("paper"), [3, 4], [1, 2]))
        one = draw_world(Scenario.load("paper"), [3, 4], np.int64(1))  # type: ignore[arg-type]
        assert one.episodes == (1, 1)

    def test_seeds_of_any_size(self) -> None:
        paper = Scenario.load("paper")
        seeds = [0, 1, 2**64 - 1, 2**64, 2**64 + 1, 2**128, 2**128 + 1, 2**200]
        world = draw_world(paper, seeds)
        assert world.seeds == tuple(seeds)
        assert len({row.tobytes() for row in world.price}) == len(seeds)


class TestDraws:
    def test_stay_in_their_ranges_and_reach_all_of_them(self) -> None:
        keys = {
            "demand": {"kind": "integers", "low": 1, "high": 3},
            "capacity": {"kind": "integers", "low": 4, "high": 6},
            "performance": {"kind": "uniform", "low": 0.8, "high": 1.0},
            "price": {"kind": "uniform", "low": 0.8, "high": 1.2},
            "data_bytes": {"kind": "uniform", "low": 0.5e6, "high": 1.5e6},
        }
        world = draw_world(Scenario.load("paper", keys), range(200))
        assert set(np.unique(world.demand)) == {1, 2, 3}
        assert set(np.unique(world.capacity[:, :-1])) == {4, 5, 6}
        for name, low, high in (
            ("performance", 0.8, 1.0),
            ("price", 0.8, 1.2),
            ("data_bytes", 0.5e6, 1.5e6),
        ):
            table = getattr(world, name)[:, :5]
            width = high - low
            assert low <= table.min() < low + 0.01 * width
            assert high - 0.01 * width < table.max() <= high
            # 1000 draws: the mean has a standard deviation of width / sqrt(12000) = 0.009 width
            assert table.mean() == pytest.approx((low + high) / 2, abs=0.04 * width)
        assert len(np.unique(world.price[:, :-1])) == 1000  # each worker's is a draw of its own

    def test_lists_are_taken_in_order(self) -> None:
        toy = Scenario.load("toy", {"price": [0.25, 2], "demand": [1, 2], "tensor_bytes": [3, 4]})
        world = draw_world(toy, [0, 1])
        assert world.price.tolist() == [[0.25, 2, 0]] * 2
        assert world.demand.tolist() == [[1, 2]] * 2
        assert world.tensor_bytes.tolist() == [[3, 4]] * 2


class TestToyByHand:
    """V_enc = 2, V_llm = 4 for provider 0 and 3 for provider 1; d = 1 MB; p = 0.5 and 1; omega = 1.

    psi_enc(1 MB) = 0.5 s, psi_llm(1 MB) = 1 s, gamma + mu = 0.3 + 0.1 = 0.4 J/MB in both stages.
    """

    def test_tables(self) -> None:
        world = draw_world(Scenario.load("toy"), [0])
        enc = [0.5 / 0.5, 0.5 / 1.0, 0]  # 1 s on the slow worker, 0.5 s on the fast one
        llm = [1.0 / 0.5, 1.0 / 1.0, 0]
        joule = [0.4 * 1 * 0.5**2, 0.4 * 1 * 1.0**2, 0]  # 0.1 J and 0.4 J
        assert world.latency_s == pytest.approx(np.array([[[enc, enc], [llm, llm]]]), rel=1e-12)
        assert world.energy_j == pytest.approx(np.broadcast_to(joule, (1, 2, 2, 3)), rel=1e-12)
        assert world.capacity.tolist() == [[1, 2, math.inf]]
        assert world.feasible.all()

    def test_mean_profit(self) -> None:
        profit = draw_world(Scenario.load("toy"), [0]).mean_profit[0]
        either = [2 - 1.0 - 1 * 0.1, 2 - 0.5 - 1 * 0.4, 0]  # 0.9 and 1.1
        first = [4 - 2.0 - 1 * 0.1, 4 - 1.0 - 1 * 0.4, 0]  # 1.9 and 2.6
        second = [3 - 2.0 - 1 * 0.1, 3 - 1.0 - 1 * 0.4, 0]  # 0.9 and 1.6
        assert profit[ENC] == pytest.approx(np.array([either, either]), rel=1e-12)
        assert profit[LLM] == pytest.approx(np.array([first, second]), rel=1e-12)

    def test_worker_factor_goes_by_worker_then_stage_and_leaves_energy_alone(self) -> None:
        toy = Scenario.load("toy", {"latency.worker_factor": [1, 2, 3, 4]})
        world, plain = draw_world(toy, [0]), draw_world(Scenario.load("toy"), [0])
        enc = [1.0 * 1, 0.5 * 3, 0]
        llm = [2.0 * 2, 1.0 * 4, 0]
        assert world.latency_s == pytest.approx(np.array([[[enc, enc], [llm, llm]]]), rel=1e-12)
        assert (world.energy_j == plain.energy_j).all()

    def test_transfer_cost(self) -> None:
        keys = {"market.transfer_cost_per_mb": 0.5, "tensor_bytes": [3e6, 0.2e6]}
        cost = draw_world(Scenario.load("toy", keys), [0]).transfer_cost
        assert cost == pytest.approx(np.array([[1.5, 0.1]]), rel=1e-12)


TIGHT = {"workers": 3, "performance": 1, "demand": [1, 3], "capacity": [0, 1, 3]}


class TestFeasible:
    @pytest.mark.parametrize("overload", ["random", "reject_all"])
    @pytest.mark.parametrize("pools", ["shared", "per_stage"])
    def test_hard_capacity_must_hold_the_task(self, overload: str, pools: str) -> None:
        keys = {"market.overload": overload, "market.capacity": pools}
        world = draw_world(Scenario.load("toy", TIGHT | keys), [0])
        small, large = [False, True, True, True], [False, False, True, True]
        assert world.feasible.tolist() == [[[small, large], [small, large]]]

    def test_shared_capacity_only_must_not_be_zero(self) -> None:
        keys = TIGHT | {"market.overload": "share"}
        world = draw_world(Scenario.load("toy", keys), [0])
        assert world.feasible.tolist() == [[[[False, True, True, True]] * 2] * 2]


NANO, AGX = "jetson-orin-nano-8gb", "jetson-agx-orin-64gb"
RTX, A100 = "rtx-4090-24gb", "a100-80gb-pcie"


def app(encoder: str = "clip-vit-l14-336", llm: str = "llava-1.5-7b-int4", **changes: Any) -> Any:
    keys = {"input_bytes": 5.4e6, "prompt_tokens": 640, "output_tokens": 100, "demand": 1}
    return {"encoder": encoder, "llm": llm, **keys, "value_enc": 2, "value_llm": 3, **changes}


def bed(devices: Sequence[tuple[str, str, float]], apps: list[Any], **keys: Any) -> Scenario:
    columns = ("device", "link", "capacity")
    listed = [dict(zip(columns, worker, strict=True)) for worker in devices]
    sizes = {"workers": len(devices), "providers": len(apps), "performance": 1, "price": 0.01}
    scales = {"testbed.data_scale": 1, "testbed.output_scale": 1, "reward.llm_weight_per_s": 0.25}
    tables = {"testbed.workers": listed, "testbed.apps": apps}
    return Scenario.load("testbed", {**sizes, **scales, **tables, **keys})


class TestTestbedByHand:
    def test_encode_on_an_orin_nano_derated_to_80_percent(self) -> None:
        world = draw_world(bed([(NANO, "wifi6-share", 2)], [app()], performance=0.8), [0])
        upload = 8 * 5.4e6 / 36.4e6  # bits over bit/s: 1.187 s
        encode = 0.136 / 0.8
        assert world.latency_s[0, ENC, 0, 0] == pytest.approx(upload + encode, rel=1e-12)
        assert world.energy_j[0, ENC, 0, 0] == pytest.approx(15 * 0.136 * 0.64, rel=1e-12)

    def test_generate_on_an_orin_nano_derated_to_80_percent(self) -> None:
        world = draw_world(bed([(NANO, "wifi6-share", 2)], [app()], performance=0.8), [0])
        upload = 8 * 1_179_648 / 36.4e6  # the encoder's tensor, not the photograph: 0.259 s
        prefill = 0.964 * 640 / 500  # on record: 0.964 s for 500 tokens
        decode = 100 / 14.8
        seconds = upload + (prefill + decode) / 0.8
        joule = (15 * prefill + 1.01 * 100) * 0.64
        assert world.latency_s[0, LLM, 0, 0] == pytest.approx(seconds, rel=1e-12)
        assert world.energy_j[0, LLM, 0, 0] == pytest.approx(joule, rel=1e-12)
        profit = 3 - 0.25 * seconds - 0.01 * joule  # V - weight l - omega e
        assert world.mean_profit[0, LLM, 0, 0] == pytest.approx(profit, rel=1e-12)

    def test_both_stages_of_another_app_on_an_rtx_4090_behind_5g(self) -> None:
        served = app("vit-b16-224", "llama-2-13b-q4", input_bytes=2e6, prompt_tokens=247)
        world = draw_world(bed([(RTX, "5g-uplink-median", 4)], [served]), [0])
        enc = 8 * 2e6 / 21.08e6 + 0.0015
        llm = 8 * 302_592 / 21.08e6 + 0.15619 / 2 + 100 / 88.51  # 247 of 494 tokens: half
        assert world.latency_s[0, :, 0, 0] == pytest.approx([enc, llm], rel=1e-12)
        joule = [397.5 * 0.0015, 397.5 * 0.15619 / 2 + 4.71 * 100]
        assert world.energy_j[0, :, 0, 0] == pytest.approx(joule, rel=1e-12)

    def test_data_scale_stretches_the_input_and_output_scale_the_answer(self) -> None:
        scales = {"testbed.data_scale": [1, 2], "testbed.output_scale": [1.5, 1]}
        world = draw_world(bed([(NANO, "wifi6-share", 2)], [app(), app()], **scales), [0])
        assert world.data_bytes.tolist() == [[5.4e6, 10.8e6]]
        enc = [8 * 5.4e6 / 36.4e6 + 0.136, 8 * 10.8e6 / 36.4e6 + 0.136]
        assert world.latency_s[0, ENC, :, 0] == pytest.approx(enc, rel=1e-12)
        prefill = 8 * 1_179_648 / 36.4e6 + 0.964 * 640 / 500
        llm = [prefill + 150 / 14.8, prefill + 100 / 14.8]
        assert world.latency_s[0, LLM, :, 0] == pytest.approx(llm, rel=1e-12)
        joule = [15 * 0.964 * 1.28 + 1.01 * 150, 15 * 0.964 * 1.28 + 1.01 * 100]
        assert world.energy_j[0, LLM, :, 0] == pytest.approx(joule, rel=1e-12)

    def test_performance_is_the_decode_rate_relative_to_the_fastest(self) -> None:
        workers = [(NANO, "wifi6-share", 2), (RTX, "wifi6-share", 2), (A100, "wifi6-share", 2)]
        world = draw_world(bed(workers, [app()], performance=[1, 1, 0.8]), [0])
        relative = [7.7 / 149.35, 1, 0.8 * 136.17 / 149.35]  # token/s of Llama-2 7B
        assert world.performance[0] == pytest.approx(relative, rel=1e-12)

    def test_each_row_has_scales_and_derating_of_its_own(self) -> None:
        world = draw_world(Scenario.load("testbed"), [0, 1])
        assert (world.data_bytes[0] != world.data_bytes[1]).all()
        for stage in (ENC, LLM):
            runs = np.isfinite(world.latency_s[0, stage, :, :-1])
            first, second = world.latency_s[:, stage, :, :-1]
            assert (first[runs] != second[runs]).all()


class TestTestbedInfeasible:
    WORKERS = ((NANO, "wifi6-share", 4), (AGX, "wifi6-share", 4), (RTX, "ethernet-1g", 4))

    @pytest.mark.parametrize(
        ("llm", "refused"),
        [
            ("llama-2-7b-q4", ()),
            ("llama-2-13b-q4", (0,)),
            ("llama-2-70b-q4", (0, 2)),
            ("llava-1.5-7b-fp16", (0,)),
        ],
    )
    def test_what_a_device_cannot_hold(self, llm: str, refused: tuple[int, ...]) -> None:
        scenario = bed(self.WORKERS, [app(llm=llm)])
        world = draw_world(scenario, [0])
        for worker in range(3):
            reason = why_infeasible(scenario, LLM, 0, worker)
            never = worker in refused
            assert world.feasible[0, LLM, 0, worker] == (not never)
            assert math.isinf(world.latency_s[0, LLM, 0, worker]) == never
            assert math.isinf(world.energy_j[0, LLM, 0, worker]) == never
            assert ("MiB" in reason) if never else (reason is None)  # type: ignore[operator]
            assert why_infeasible(scenario, ENC, 0, worker) is None
        assert world.feasible[0, ENC, 0].all()

    def test_a_demand_above_the_capacity_is_infeasible_though_the_device_could(self) -> None:
        workers = [(NANO, "wifi6-share", 1), (NANO, "wifi6-share", 2)]
        scenario = bed(workers, [app(demand=2)])
        assert draw_world(scenario, [0]).feasible.tolist() == [[[[False, True, True]]] * 2]
        assert why_infeasible(scenario, LLM, 0, 0) is None

    def test_every_pair_of_the_named_testbed(self) -> None:
        scenario = Scenario.load("testbed")
        world = draw_world(scenario, [0])
        for stage, m, n in np.ndindex(2, scenario.providers, scenario.workers):
            reason = why_infeasible(scenario, stage, m, n)
            fits = world.demand[0, m] <= world.capacity[0, n]
            assert world.feasible[0, stage, m, n] == (reason is None and fits)
        assert why_infeasible(Scenario.load("paper"), ENC, 0, 0) is None

    def test_providers_and_workers_beyond_the_lists_start_over(self) -> None:
        scenario = bed(
            [(NANO, "wifi6-share", 2), (RTX, "5g-uplink-median", 4)],
            [app(), app(llm="llama-2-13b-q4", demand=2, value_llm=5), app("vit-b16-224")],
            providers=7,
            workers=5,
        )
        world = draw_world(scenario, [0])
        assert world.demand.tolist() == [[1, 2, 1, 1, 2, 1, 1]]
        assert world.capacity.tolist() == [[2, 4, 2, 4, 2, math.inf]]
        assert world.value[0, LLM].tolist() == [3, 5, 3, 3, 5, 3, 3]
        assert world.tensor_bytes[0, :3].tolist() == [1_179_648, 1_179_648, 302_592]
        for table in (world.latency_s, world.energy_j, world.feasible, world.mean_profit):
            for m, n in np.ndindex(7, 5):
                assert (table[0, :, m, n] == table[0, :, m % 3, n % 2]).all()
        assert why_infeasible(scenario, LLM, 4, 2) == why_infeasible(scenario, LLM, 1, 0)
        assert "MiB" in str(why_infeasible(scenario, LLM, 4, 2))


MINE = """\
name = "mine"
title = "My board"
"""
ROW = """
[[number]]
quantity = "{}"
model = "{}"
value = {}
unit = "{}"
kind = "measured"
source = "my own stopwatch"
"""


def my_device(folder: Path, rate: float | None = 15.4) -> str:
    """Write a device that loads 10 W, encodes in 0.25 s, and decodes at ``rate`` if it does."""
    text = MINE + ROW.format("load_power", "", 10, "W").replace('model = ""\n', "")
    text += ROW.format("encode_time", "vit-b16-224", 0.25, "s")
    for llm in ("llama-2-7b-q4", "llava-1.5-7b-int4"):
        if llm == "llama-2-7b-q4" and rate is None:
            text += f'\n[[infeasible]]\nmodel = "{llm}"\nreason = "too large"\n'
            text += 'kind = "measured"\nsource = "it crashed"\n'
            continue
        text += ROW.format("decode_rate", llm, rate or 20, "token/s")
        text += ROW.format("prefill_time", llm, 0.5, "s") + "tokens = 100\n"
        text += ROW.format("decode_energy", llm, 2, "J/token")
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


class TestOwnDevice:
    def test_is_given_as_a_path(self, tmp_path: Path) -> None:
        mine = my_device(tmp_path)
        served = app("vit-b16-224", "llama-2-7b-q4", prompt_tokens=200, output_tokens=77)
        workers = [(NANO, "ethernet-1g", 2), (mine, "ethernet-1g", 2)]
        world = draw_world(bed(workers, [served], performance=[1, 0.5]), [0])
        enc = 8 * 5.4e6 / 940e6 + 0.25 / 0.5
        llm = 8 * 302_592 / 940e6 + (0.5 * 200 / 100 + 77 / 15.4) / 0.5
        assert world.latency_s[0, :, 0, 1] == pytest.approx([enc, llm], rel=1e-12)
        joule = [10 * 0.25 * 0.25, (10 * 1.0 + 2 * 77) * 0.25]
        assert world.energy_j[0, :, 0, 1] == pytest.approx(joule, rel=1e-12)
        assert world.performance[0] == pytest.approx([7.7 / 15.4, 0.5], rel=1e-12)

    def test_a_model_that_it_does_not_cover_is_named(self, tmp_path: Path) -> None:
        scenario = bed([(my_device(tmp_path), "ethernet-1g", 2)], [app("flava-full")])
        with pytest.raises(ValueError, match=r"encode_time of device mine 'flava-full'.*vit-b16"):
            draw_world(scenario, [0])

    def test_if_none_runs_the_reference_model_only_derating_ranks_the_workers(
        self, tmp_path: Path
    ) -> None:
        mine = (my_device(tmp_path, rate=None), "ethernet-1g", 2)
        scenario = bed([mine, mine], [app("vit-b16-224")], performance=[0.8, 1])
        assert draw_world(scenario, [0]).performance.tolist() == [[0.8, 1.0]]

    def test_one_that_does_not_run_the_reference_model_has_performance_0(
        self, tmp_path: Path
    ) -> None:
        workers = [(my_device(tmp_path, rate=None), "ethernet-1g", 2), (NANO, "ethernet-1g", 2)]
        assert draw_world(bed(workers, [app("vit-b16-224")]), [0]).performance.tolist() == [[0, 1]]


NOISY: dict[str, tuple[dict[str, Any], float]] = {
    # what to play, and how far "to first order in std" may be off
    "affine": ({"noise.std": 0.5}, 0.01),
    "lognormal": ({"noise.std": 0.3, "noise.distribution": "lognormal"}, 0.02),
    "quadratic": (
        {"noise.std": 0.05, "reward.shape": "quadratic", "reward.curvature_per_s2": 0.5},
        0.02,
    ),
    "deadline": (  # 0.75 s; a latency of 0.5 s stays below 0.59 s, one of 1 s above 0.82 s
        {"noise.std": 0.1, "reward.shape": "deadline", "reward.deadline_s": 0.75},
        0.01,
    ),
    "reward": ({"noise.on": "reward", "noise.std": 0.7}, 0.01),
    "normal reward": (
        {"noise.on": "reward", "noise.std": 0.7, "noise.distribution": "normal"},
        0.01,
    ),
    "none": ({"noise.on": "none"}, 0.0),
}


def all_alike(task: np.ndarray) -> np.ndarray:
    """Give every task the same priority, for slots where nobody is dropped."""
    return np.zeros(task.shape, np.uint64)


@pytest.mark.parametrize(("overrides", "tolerance"), NOISY.values(), ids=NOISY)
def test_mean_profit_and_profit_std_against_simulation(
    overrides: dict[str, Any], tolerance: float
) -> None:
    base = {"noise.on": "latency_energy", "capacity": 9, "reward.llm_weight_per_s": 0.8}
    scenario = Scenario.load("toy", base | overrides)
    one, draws = draw_world(scenario, [0]), 200_000
    # 200,000 equal rows, each with noise of its own, in place of 200,000 slots

    def repeated(table: np.ndarray) -> np.ndarray:
        return np.broadcast_to(table, (draws, *table.shape[1:]))

    tables: dict[str, Any] = {
        field.name: repeated(value)
        for field in fields(World)
        if isinstance(value := getattr(one, field.name), np.ndarray)
    }
    pace = type(one.pace)(*map(repeated, one.pace))
    world = replace(one, seeds=(0,) * draws, episodes=(0,) * draws, **tables, pace=pace)
    rng = np.random.default_rng(1)
    shape = (draws, 2, 2, 2)
    if scenario.noise.distribution == "uniform":
        z = rng.uniform(-(3**0.5), 3**0.5, shape)
    else:
        z = rng.standard_normal(shape)
    for n in (0, 1):
        allocation = np.full((draws, 2, 2), n)
        profit = play_slot(world, allocation, noise_effect(scenario.noise, z), all_alike).profit
        std, expected = one.profit_std[0, :, :, n].T, one.mean_profit[0, :, :, n].T
        assert profit.std(axis=0) == pytest.approx(std, rel=tolerance, abs=1e-9)
        # five standard errors of the mean
        assert (np.abs(profit.mean(axis=0) - expected) <= 5 * std / draws**0.5 + 1e-9).all()


class TestCommonLuck:
    """Every quantity has a stream of its own, so that sweeps compare like with like."""

    SIZED = ("performance", "price", "demand", "data_bytes", "capacity")

    def test_more_workers_keep_the_first_ones_and_all_providers(self) -> None:
        small = draw_world(Scenario.load("paper", workers=5), [0, 1])
        large = draw_world(Scenario.load("paper", workers=30), [0, 1])
        assert (large.mean_profit[..., :5] == small.mean_profit[..., :5]).all()
        assert (large.demand == small.demand).all()
        assert (large.capacity[:, :5] == small.capacity[:, :5]).all()

    def test_more_providers_keep_the_first_ones_and_all_workers(self) -> None:
        small = draw_world(Scenario.load("paper", providers=5), [0, 1])
        large = draw_world(Scenario.load("paper", providers=10), [0, 1])
        assert (large.mean_profit[:, :, :5] == small.mean_profit).all()
        assert (large.capacity == small.capacity).all()

    def test_a_factor_of_its_own_leaves_the_rest(self) -> None:
        spread = {"kind": "uniform", "low": 0.5, "high": 1.5}
        small = draw_world(Scenario.load("paper", {"latency.worker_factor": spread}), [0])
        large = draw_world(
            Scenario.load("paper", {"latency.worker_factor": spread}, workers=9), [0]
        )
        assert (large.latency_s[..., :5] == small.latency_s[..., :5]).all()

    @pytest.mark.parametrize("key", SIZED)
    def test_making_one_quantity_constant_leaves_the_others(self, key: str) -> None:
        plain = draw_world(Scenario.load("paper"), [0])
        changed = draw_world(Scenario.load("paper", {key: 1 if key != "capacity" else 5}), [0])
        for other in self.SIZED:
            same = (getattr(plain, other) == getattr(changed, other)).all()
            assert same == (other != key), other
