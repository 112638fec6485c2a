"""Files of assignment problems, written here and worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distmllm_agents.mapping import solve_branch_and_bound, solve_exact
from distmllm_agents.mapping.gap_files import read_gap

# Two agents, three jobs. Job 2 fits agent 1 alone (weight 4 of 3 on agent 0), and leaves 1 there:
# jobs 0 and 1 then both go to agent 0 (1 + 2 of 3), or job 1 joins job 2 (1 of 1).
# Profits 7 + 6 + 5 = 18, or 7 + 1 + 5 = 13. Cost is least in the second: 13.
SINGLE = """ 2 3
 7 6 9
 2 1 5
 1 2 4
 3 1 2
 3 3
"""
OTHER = "1 2  4 8  1 1  2"  # one agent takes both jobs: 12


def write(folder: Path, text: str) -> Path:
    path = folder / "jobs.txt"
    path.write_text(text)
    return path


def test_items_are_jobs_and_workers_agents(tmp_path: Path) -> None:
    problem = read_gap(write(tmp_path, SINGLE))
    assert problem.utility.tolist() == [[7, 2], [6, 1], [9, 5]]
    assert problem.weight.tolist() == [[1, 3], [2, 1], [4, 2]]
    assert problem.capacity.tolist() == [[3, 3]]
    assert problem.pool.tolist() == [0, 0, 0]
    assert problem.allowed.all()
    assert problem.exactly_one


@pytest.mark.parametrize("solve", [solve_exact, solve_branch_and_bound])
def test_both_senses_by_hand(tmp_path: Path, solve: object) -> None:
    path = write(tmp_path, SINGLE)
    most, least = solve(read_gap(path)), solve(read_gap(path, maximise=False))
    assert (most.status, most.value, most.choice.tolist()) == ("optimal", 18, [0, 0, 1])
    assert (least.status, least.value, least.choice.tolist()) == ("optimal", -13, [0, 1, 1])


def test_several_problems(tmp_path: Path) -> None:
    path = write(tmp_path, f"3\n{SINGLE}\n{OTHER}\n{SINGLE}")
    for i, value in enumerate([18, 12, 18]):
        assert solve_exact(read_gap(path, problem=i)).value == value
    np.testing.assert_array_equal(read_gap(path, problem=2).utility, read_gap(path).utility)
    for i in (-1, 3):
        with pytest.raises(ValueError, match=rf"problem {i} is not allowed: 0\.\.2"):
            read_gap(path, problem=i)


def test_one_problem_with_its_number(tmp_path: Path) -> None:
    assert read_gap(write(tmp_path, "1 " + OTHER)).utility.tolist() == [[4], [8]]
    assert read_gap(write(tmp_path, OTHER)).utility.tolist() == [[4], [8]]


def test_any_blanks_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "jobs"
    path.write_bytes(("\r\n\t".join(SINGLE.split()) + "\n\n").encode())
    assert read_gap(str(path)).utility.tolist() == [[7, 2], [6, 1], [9, 5]]


def test_real_numbers(tmp_path: Path) -> None:
    problem = read_gap(write(tmp_path, "1 1 -2.5 1e-1 .5"))
    assert (problem.utility, problem.weight, problem.capacity) == (-2.5, 0.1, 0.5)


# As a single problem, 2 agents and 4 jobs: 2 + 16 + 2 = 20 numbers. As two problems: the number 2,
# then 4 agents and 1 job (2 + 8 + 4 = 14), then 1 agent and 1 job (2 + 2 + 1 = 5): 20 as well.
EITHER = [2, 4, 1, *[1] * 12, 1, 1, *[1] * 3]


def test_a_file_with_two_readings_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, " ".join(map(str, EITHER)))
    message = (
        "jobs.txt holds 20 numbers and can be read as a single problem: 20 and as 2 problems: 20"
    )
    with pytest.raises(ValueError, match=message):
        read_gap(path)
    single = write(tmp_path, "1 " + path.read_text())  # the way out that the message names
    assert read_gap(single).utility.shape == (4, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds 0 numbers; expected a single problem: more than 0"),
        ("2", "holds 1 numbers; expected a single problem: more than 1"),
        # 2 + 2 * 2 * 3 + 2 = 16
        (SINGLE[:-3], "holds 15 numbers; expected a single problem: 16"),
        (SINGLE + "1", "holds 17 numbers; expected a single problem: 16"),
        # 1 + 16 + 7 = 24
        (f"2 {SINGLE} {OTHER} 1", "holds 25 numbers; .*, or 2 problems: 24"),
        # the second problem is missing
        (f"2 {SINGLE}", "holds 17 numbers; .*, or 2 problems: more than 17"),
        # the first is cut short
        ("3 2 3 1 1", "holds 5 numbers; .*, or 3 problems: 17 or more"),
        ("0 3 1 1", "expected a single problem: agents and jobs, not 0 and 3, at number 1"),
        ("1.5 2 1 1", "agents and jobs, not 1.5 and 2, at number 1"),
        ("1 1 7 x 1", "word 4 is 'x': a finite number is allowed"),
        ("1 1 7 nan 1", "word 4 is 'nan': a finite number is allowed"),
        ("1 1 7 0 1", r"problem 0: weight\[0, 0\] = 0.0 is not allowed: a finite number, above 0"),
        ("1 1 7 1 -1", r"capacity\[0, 0\] = -1.0 is not allowed"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        read_gap(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes([0xFF, 0xFE, 0x00, 0x80]))
    with pytest.raises(ValueError, match="image: word 1 is"):
        read_gap(path)
    with pytest.raises(FileNotFoundError):
        read_gap(tmp_path / "absent")
