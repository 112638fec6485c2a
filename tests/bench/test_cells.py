"""Cells: scores and curves against hand-worked numbers; a file is whole, or it is told."""

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from distmllm_agents.oracle import optimum
from distmllm_bench.metrics import Scores
from distmllm_bench.sweep.cells import SCORES, Cell, Failure, Store, measure
from distmllm_env import Scenario, archive, load_policy, play

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2
ABOUT = {"policy": "ucb", "seconds": 0.25, "batch": 3}


class Script:
    """Plays a list of allocations (M, S), the last one for ever."""

    batched = True

    def __init__(self, *allocations):
        self.allocations = allocations

    def reset(self, problem, rng):
        pass

    def act(self, observation):
        return np.array(self.allocations[min(observation.slot, len(self.allocations) - 1)])[None]

    def update(self, feedback):
        pass


def toy_cell(*allocations, slots):
    run = play(Scenario.load("toy", slots=slots), Script(*allocations), [0])
    return measure(run, optimum(run.world), ABOUT)


def paper_cell(seed=3, slots=15):
    run = play(Scenario.load("paper", slots=slots), load_policy("distmllm"), [seed])
    return measure(run, optimum(run.world), ABOUT)


def same(cell, other):
    """Whether two cells are equal, bit for bit, types and all."""
    return (
        cell.scores == other.scores
        and cell.about == other.about
        and {name: (t.dtype, t.shape, t.tobytes()) for name, t in cell.curves.items()}
        == {name: (t.dtype, t.shape, t.tobytes()) for name, t in other.curves.items()}
    )


def test_measure_by_hand():
    # Slot 1: ENC 0 earns 0.9 on worker 0, LLM 1 earns 1.6 on worker 1, the others wait. Slots 2, 3:
    # all on worker 1 with two places, so two of four are dropped; without noise all LLM tasks that
    # are served earn 2.6 and 1.6, ENC 1.1.
    cell = toy_cell([[0, 2], [2, 1]], [[1, 1], [1, 1]], slots=3)
    scores, curves = cell.scores, cell.curves
    assert list(scores) == list(SCORES)
    assert scores["optimum"] == pytest.approx(5.1)
    assert curves["expected"][0] == pytest.approx(2.5)
    assert curves["deferred"].tolist() == [2, 0, 0]
    assert curves["rejected"].tolist() == [0, 2, 2]
    assert curves["infeasible"].tolist() == [0, 0, 0]
    assert curves["switches"].tolist() == [0, 3, 0]
    assert scores["switches"] == pytest.approx(3 / 8)
    assert scores["deferred"] == pytest.approx(2 / 12)
    assert scores["rejected"] == pytest.approx(4 / 10)
    assert scores["profit"] == pytest.approx(curves["profit"].sum())
    assert scores["expected_profit"] == pytest.approx(scores["profit"])  # there is no noise
    assert scores["regret"] == pytest.approx(3 * 5.1 - scores["expected_profit"])
    assert scores["realised_regret"] == pytest.approx(scores["regret"])
    assert scores["enc_regret"] + scores["llm_regret"] == pytest.approx(scores["regret"])
    fates = [scores[f"regret_{fate}"] for fate in ("served", "rejected", "idle")]
    assert sum(fates) == pytest.approx(scores["regret"])
    assert fates[2] == pytest.approx(2.6)  # in slot 1 LLM 0 waits, and ENC 1, which may
    assert cell.regret_curve[0] == pytest.approx(5.1 - 2.5)
    assert cell.regret_curve[-1] == pytest.approx(scores["regret"])
    # Slot 1: 0.9 and 1.6, so 2.5^2 / (2 (0.81 + 2.56)).
    assert curves["jain"][0] == pytest.approx(6.25 / 6.74)
    assert curves["jain"][-1] == pytest.approx(scores["jain"])
    assert cell.about == ABOUT
    assert "exploring" not in curves


def test_measure_a_single_slot():
    cell = toy_cell([[2, 2], [2, 2]], slots=1)
    assert cell.scores["switches"] == 0
    assert cell.scores["deferred"] == 1
    assert cell.scores["rejected"] == 0
    assert cell.scores["regret"] == pytest.approx(5.1)
    assert cell.scores["regret_idle"] == pytest.approx(5.1)


def test_measure_phases_and_totals():
    run = play(Scenario.load("paper", slots=15), load_policy("distmllm"), [3])
    cell, scores = paper_cell(), Scores(run, optimum(run.world))
    assert cell.curves["exploring"].tolist() == run.exploring[0].tolist()
    assert cell.curves["profit"].tolist() == run.profit[0].sum(axis=(1, 2)).tolist()
    assert cell.scores["expected_profit"] != cell.scores["profit"]
    assert cell.regret_curve == pytest.approx(scores.regret_curve[0])
    assert cell.scores["realised_regret"] == scores.realised_regret[0]
    assert all(len(curve) == 15 for curve in cell.curves.values())
    assert all(type(score) is float for score in cell.scores.values())


def test_differences():
    cell, again, other = paper_cell(), paper_cell(), paper_cell(seed=4)
    assert cell.differences(again) == []
    assert "profit" in cell.differences(other)
    assert "curve profit" in cell.differences(other)
    for name in SCORES:
        near = float(np.nextafter(cell.scores[name], np.inf))
        edited = Cell({**cell.scores, name: near}, cell.curves, {})
        assert cell.differences(edited) == [name]
    for name, curve in cell.curves.items():
        changed = curve.copy()
        changed[7] = not changed[7] if curve.dtype == bool else changed[7] + 1
        edited = Cell(cell.scores, {**cell.curves, name: changed}, {})
        assert cell.differences(edited) == [f"curve {name}"]
    fewer = {name: curve for name, curve in cell.curves.items() if name != "exploring"}
    for one, two in ((cell.curves, fewer), (fewer, cell.curves)):
        assert Cell(cell.scores, one, {}).differences(Cell(cell.scores, two, {})) == [
            "curve exploring"
        ]
    zero, minus = (Cell(cell.scores, {"x": np.array([z])}, {}) for z in (0.0, -0.0))
    assert zero.differences(minus) == ["curve x"]


def test_a_cell_comes_back_as_it_was(tmp_path):
    store, cell = Store(tmp_path / "new" / "cells"), paper_cell()
    assert store.get(KEY) is None
    assert store.state(KEY) == ("missing", "")
    assert not store.folder.exists()
    store.put(KEY, cell)
    assert same(store.get(KEY), cell)
    assert store.state(KEY) == ("done", "")
    assert store.state(OTHER) == ("missing", "")
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.npz"]


def test_so_does_a_failure(tmp_path):
    store, failure = Store(tmp_path), Failure('it said "no", \u00e9', "line 1\n  line 2", ABOUT)
    store.put(KEY, failure)
    assert store.get(KEY) == failure
    assert store.state(KEY) == ("failed", failure.error)
    assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.failed.json"]


def test_the_later_result_counts(tmp_path):
    store, cell, failure = Store(tmp_path), paper_cell(), Failure("why", "", {})
    store.put(KEY, failure)
    store.put(KEY, cell)
    assert same(store.get(KEY), cell)
    assert len(list(tmp_path.iterdir())) == 1
    store.put(KEY, failure)
    assert store.get(KEY) == failure
    assert len(list(tmp_path.iterdir())) == 1


def damaged(store, key, name):
    """Whether the store calls a cell damaged, and names its file."""
    state, why = store.state(key)
    if state == "damaged":
        assert str(store.folder / name) in why
        with pytest.raises(ValueError, match=key):
            store.get(key)
    return state == "damaged"


class TestDamage:
    @pytest.fixture
    def store(self, tmp_path):
        store = Store(tmp_path / "cells")
        store.put(KEY, paper_cell())
        store.put(OTHER, paper_cell(seed=4))
        return store

    @pytest.fixture(autouse=True)
    def _the_other_is_unharmed_and_it_can_be_played_anew(self, store):
        yield
        assert same(store.get(OTHER), paper_cell(seed=4))
        store.put(KEY, paper_cell())
        assert same(store.get(KEY), paper_cell())
        store.put(KEY, Failure("why", "", {}))
        assert store.state(KEY) == ("failed", "why")

    def test_truncated_at_any_length(self, store):
        path = store.folder / f"{KEY}.npz"
        whole = path.read_bytes()
        for length in [*range(40), *range(40, len(whole), 97), len(whole) - 1]:
            path.write_bytes(whole[:length])
            assert damaged(store, KEY, path.name), length

    def test_a_byte_flipped_anywhere(self, store):
        path, cell = store.folder / f"{KEY}.npz", paper_cell()
        whole, told = path.read_bytes(), 0
        places = range(0, len(whole), 23)
        for i in places:
            broken = bytearray(whole)
            broken[i] ^= 0xFF
            path.write_bytes(broken)
            if damaged(store, KEY, path.name):
                told += 1
            else:  # times and modes of members say nothing about what they hold
                assert same(store.get(KEY), cell), i
        assert told > len(places) / 2

    @pytest.mark.parametrize("content", [b"", b"\0" * 5000, b"no zip", b"PK\x05\x06" + b"\0" * 18])
    def test_something_else(self, store, content):
        (store.folder / f"{KEY}.npz").write_bytes(content)
        assert damaged(store, KEY, f"{KEY}.npz")

    def test_another_cell_renamed(self, store):
        shutil.copy(store.folder / f"{OTHER}.npz", store.folder / f"{KEY}.npz")
        assert damaged(store, KEY, f"{KEY}.npz")
        assert "renamed" in store.state(KEY)[1]

    def test_another_kind_of_archive(self, store):
        path = store.folder / f"{KEY}.npz"
        curves, text, _ = archive.read_archive(path, archive.CELL)
        archive.write_archive(path, curves, {**text, "kind": archive.RUN})
        assert damaged(store, KEY, path.name)
        assert "its kind is 'recorded run" in store.state(KEY)[1]

    def test_a_number_changed_inside(self, store):
        path = store.folder / f"{KEY}.npz"
        with np.load(path) as data:
            arrays = {name: data[name] for name in data.files}
        arrays["profit"][3] += 1.0
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)
        assert damaged(store, KEY, path.name)
        assert "damaged or was edited" in store.state(KEY)[1]

    @pytest.mark.parametrize("missing", ["key", "scores", "about"])
    def test_an_archive_with_something_missing(self, store, missing):
        path = store.folder / f"{KEY}.npz"
        curves, text, _ = archive.read_archive(path, archive.CELL)
        del text[missing]
        archive.write_archive(path, curves, text)
        assert damaged(store, KEY, path.name)

    @pytest.mark.parametrize("change", [{"regret": None}, {"more": 1.0}])
    def test_an_archive_with_other_scores(self, store, change):
        path = store.folder / f"{KEY}.npz"
        curves, text, _ = archive.read_archive(path, archive.CELL)
        scores = {**text["scores"], **change}
        kept = {name: score for name, score in scores.items() if score is not None}
        archive.write_archive(path, curves, {**text, "scores": kept})
        assert damaged(store, KEY, path.name)

    def test_a_folder_instead_of_a_file(self, store):
        path = store.folder / f"{KEY}.npz"
        path.unlink()
        path.mkdir()
        (path / "inside").write_text("somebody's")
        assert damaged(store, KEY, path.name)

    @pytest.mark.parametrize(
        "content",
        [
            *("", "{", "[]", "null", "7", '"text"', "{}", "\0"),
            '{"key": "K", "error": "why"}',
            '{"key": "K", "error": "why", "trace": "", "about": 7}',
        ],
    )
    def test_a_record_of_a_failure(self, store, content):
        (store.folder / f"{KEY}.npz").unlink()
        path = store.folder / f"{KEY}.failed.json"
        path.write_text(content.replace("K", KEY))
        assert damaged(store, KEY, path.name)

    def test_a_record_that_is_no_text(self, store):
        (store.folder / f"{KEY}.npz").unlink()
        (store.folder / f"{KEY}.failed.json").write_bytes(b"\xff\xfe")
        assert damaged(store, KEY, f"{KEY}.failed.json")

    def test_a_record_of_another_failure(self, store):
        (store.folder / f"{KEY}.npz").unlink()
        record = {"key": OTHER, "error": "why", "trace": "", "about": {}}
        (store.folder / f"{KEY}.failed.json").write_text(json.dumps(record))
        assert damaged(store, KEY, f"{KEY}.failed.json")

    def test_a_folder_instead_of_a_record(self, store):
        (store.folder / f"{KEY}.npz").unlink()
        (store.folder / f"{KEY}.failed.json").mkdir()
        assert damaged(store, KEY, f"{KEY}.failed.json")


class TestFullDisk:
    @pytest.fixture
    def store(self, tmp_path):
        store = Store(tmp_path / "cells")
        store.put(KEY, paper_cell())
        return store

    @pytest.fixture
    def _full(self, store, monkeypatch):
        """Half of a file fits."""

        def write(self, data):
            with self.open("wb") as file:
                file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

        monkeypatch.setattr(Path, "write_bytes", write)

    @pytest.mark.usefixtures("_full")
    @pytest.mark.parametrize("result", [paper_cell(seed=4), Failure("why", "", {})])
    def test_what_was_there_stays(self, store, result):
        for key in (KEY, OTHER):
            with pytest.raises(OSError, match="No space left"):
                store.put(key, result)
        assert same(store.get(KEY), paper_cell())
        assert store.get(OTHER) is None
        assert [path.name for path in store.folder.iterdir()] == [f"{KEY}.npz"]

    def test_a_file_is_never_seen_before_it_is_whole(self, store, monkeypatch):
        seen, replace = [], Path.replace

        def watched(self, target):
            seen.append((target.exists(), self.stat().st_size))
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", watched)
        store.put(OTHER, paper_cell(seed=4))
        (existed, size), *more = seen
        assert not existed
        assert size == (store.folder / f"{OTHER}.npz").stat().st_size
        assert more == []
