import subprocess
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from distmllm_env.envs.frame import Frame
from distmllm_env.envs.rendering import ansi, rgb_array
from distmllm_env.slot import Status

# Two providers, two workers: P0's LLM was too much for W0, P1 serves on W1 alone.
FRAME = Frame(
    title="example, seed 7",
    slot=2,
    slots=20,
    demand=np.array([1.0, 2.0]),
    capacity=np.array([1.0, 4.0]),
    allocation=np.array([[0, 0], [1, 2]]),
    status=np.array([[Status.ADMITTED, Status.REJECTED], [Status.ADMITTED, Status.DEFERRED]]),
    profit=np.array([[1.25, 0.0], [-0.5, 0.0]]),
    load=np.array([1.0, 2.0]),
    history=np.array([0.25, 0.75]),
)
FRESH = replace(
    FRAME,
    slot=0,
    allocation=np.full((2, 2), 2),
    status=np.zeros((2, 2), np.int8),
    profit=np.zeros((2, 2)),
    load=np.zeros(2),
    history=np.array([]),
)


def picture(frame, **size):
    return rgb_array(frame, **size).tobytes()


def test_ansi_of_a_played_slot():
    assert ansi(FRAME).split("\n") == [
        "example, seed 7, slot 2/20  mean profit 0.500, last 0.750",
        "provider  demand  enc              llm                profit",
        "P0             1  W0 served        W0 rejected        +1.250",
        "P1             2  W1 served        deferred           -0.500",
        "worker      load / capacity",
        "W0             1 / 1         [####################]",
        "W1             2 / 4         [##########----------]",
    ]


def test_ansi_before_the_first_slot():
    assert ansi(FRESH).split("\n") == [
        "example, seed 7, slot 0/20",
        "provider  demand  enc              llm                profit",
        "P0             1  waiting          waiting                 -",
        "P1             2  waiting          waiting                 -",
        "worker      load / capacity",
        "W0             0 / 1         [--------------------]",
        "W1             0 / 4         [--------------------]",
    ]


def test_ansi_of_a_slot_being_filled_shows_its_placements_not_the_last_outcome():
    filling = replace(FRAME, waiting=np.array([[1, 2], [0, -1]]))
    assert ansi(filling).split("\n") == [
        "example, seed 7, slot 2/20, next: 3/4 tasks  mean profit 0.500, last 0.750",
        "provider  demand  enc              llm                profit",
        "P0             1  W1 placed        deferred           +1.250",
        "P1             2  W0 placed        waiting            -0.500",
        "worker      load / capacity",
        "W0             2 / 1         [####################]",
        "W1             1 / 4         [#####---------------]",
    ]


def test_before_the_first_turn_the_last_slot_stays_on_show():
    untouched = replace(FRAME, waiting=np.full((2, 2), -1))
    assert ansi(untouched) == ansi(FRAME)
    assert picture(untouched) == picture(FRAME)


def test_ansi_names_infeasible_tasks_and_has_no_negative_zero():
    status = np.array([[Status.INFEASIBLE, Status.REJECTED], [Status.ADMITTED, Status.DEFERRED]])
    text = ansi(replace(FRAME, status=status, profit=np.array([[-1e-9, 0.0], [1.0, 0.0]])))
    assert "W0 infeasible" in text
    assert "+0.000" in text
    assert "-0.000" not in text


def test_ansi_fits_100_columns_and_cuts_a_long_title():
    text = ansi(replace(FRAME, title="t" * 200, waiting=np.array([[1, 2], [0, -1]])))
    assert max(map(len, text.split("\n"))) <= 100
    assert text.startswith("ttt")
    assert "..., slot 2/20, next: 3/4 tasks" in text


@pytest.mark.parametrize("size", [(960, 540), (961, 541), (333, 777), (64, 48)])
def test_picture_has_the_size_asked_for(size):
    width, height = size
    image = rgb_array(FRAME, width=width, height=height)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8


def test_a_tiny_picture_of_a_served_llm_does_not_crash():
    served = replace(FRAME, status=np.array([[Status.ADMITTED] * 2, [Status.ADMITTED, 0]]))
    assert rgb_array(served, width=1, height=1).shape == (1, 1, 3)


def test_picture_defaults_to_960_x_540_and_is_not_blank():
    image = rgb_array(FRAME)
    assert image.shape == (540, 960, 3)
    assert image.min() < 64
    assert image.max() == 255


def test_equal_frames_give_equal_bytes():
    assert picture(FRAME) == picture(replace(FRAME, demand=FRAME.demand.copy()))


IDLE = {"status": np.full((2, 2), Status.DEFERRED), "load": np.zeros(2)}


@pytest.mark.parametrize(
    "change",
    [
        {"title": "example, seed 8"},
        {"slot": 1, "history": np.array([0.25])},
        {"history": np.array([0.25, 0.7])},
        {"demand": np.array([1.0, 3.0])},
        {"profit": np.array([[1.0, 0.0], [-0.5, 0.0]])},
        {"allocation": np.array([[0, 0], [0, 2]])},
        {"load": np.array([0.5, 2.0])},  # W0 is full no more
        {"capacity": np.array([1.0, 2.0])},  # W1 is full
        {"allocation": np.full((2, 2), 2), **IDLE},
        {"waiting": np.array([[0, 0], [1, -1]])},
    ],
    ids=str,
)
def test_different_frames_give_different_pictures(change):
    assert picture(replace(FRAME, **change)) != picture(FRAME)


def test_every_status_looks_different():
    seen = {
        picture(replace(FRAME, status=np.array([[Status.ADMITTED, s], [Status.ADMITTED, 0]])))
        for s in (Status.ADMITTED, Status.REJECTED, Status.INFEASIBLE)
    }
    assert len(seen) == 3


def test_a_task_refused_before_it_reached_a_worker_names_none():
    refused = replace(FRAME, allocation=np.array([[0, 2], [1, 2]]))
    assert "W0 served        rejected           +1.250" in ansi(refused)
    deferred = replace(
        refused, status=np.array([[Status.ADMITTED, Status.DEFERRED], [Status.ADMITTED, 0]])
    )
    infeasible = replace(
        refused, status=np.array([[Status.ADMITTED, Status.INFEASIBLE], [Status.ADMITTED, 0]])
    )
    assert len({picture(FRAME), picture(refused), picture(deferred), picture(infeasible)}) == 4


@pytest.mark.parametrize("slot", [0, 1])
def test_the_first_slots_can_be_drawn(slot):
    frame = FRESH if slot == 0 else replace(FRAME, slot=1, history=np.array([0.25]))
    assert rgb_array(frame).shape == (540, 960, 3)


def test_a_first_slot_being_filled_can_be_drawn():
    filling = replace(FRESH, waiting=np.array([[1, -1], [-1, -1]]))
    assert picture(filling) != picture(FRESH)


def test_workers_without_capacity_and_loads_above_it_can_be_drawn():
    frame = replace(FRAME, capacity=np.zeros(2), load=np.array([3.0, 0.0]))
    assert rgb_array(frame).shape == (540, 960, 3)
    assert "3 / 0         [####################]" in ansi(frame)
    assert "0 / 0         [--------------------]" in ansi(frame)


@pytest.mark.parametrize(("providers", "workers"), [(1, 1), (10, 30), (60, 100)])
def test_other_sizes_can_be_drawn(providers, workers):
    rng = np.random.default_rng(0)
    allocation = rng.integers(0, workers, (providers, 2))
    demand = np.ones(providers)
    frame = Frame(
        title="sizes",
        slot=3,
        slots=500,
        demand=demand,
        capacity=np.full(workers, 4.0),
        allocation=allocation,
        status=np.full((providers, 2), Status.ADMITTED, np.int8),
        profit=rng.normal(size=(providers, 2)),
        load=np.bincount(allocation.ravel(), minlength=workers).astype(float),
        history=rng.normal(size=3),
    )
    assert rgb_array(frame).shape == (540, 960, 3)
    assert len(ansi(frame).split("\n")) == providers + workers + 3


def test_drawing_leaves_the_users_style_alone_and_is_not_touched_by_it():
    plain = picture(FRAME)
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.color": "red"}):
        before = matplotlib.rcParams.copy()
        assert picture(FRAME) == plain
        assert matplotlib.rcParams.copy() == before


def test_the_import_does_not_load_matplotlib():
    code = (
        "import sys, distmllm_env.envs.rendering\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'matplotlib'))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_drawing_does_not_load_pyplot():
    code = (
        "import sys, numpy as np\n"
        "from distmllm_env.envs.frame import Frame\n"
        "from distmllm_env.envs.rendering import rgb_array\n"
        "one, table = np.ones(1), np.ones((1, 2), int)\n"
        "rgb_array(Frame('t', 0, 5, one, one, table, 0 * table, 0.0 * table, 0 * one, one[:0]))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
