"""README tells the truth: its Python blocks run and print what it says, and so does the demo.

``python tests/test_readme.py`` writes the present output into README.
"""

import contextlib
import csv
import io
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from distmllm_bench.style import title

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<output>.*?)```", re.DOTALL)
REFERENCE = README.parent / "docs" / "reproduced"
CLAIMS = re.compile(r"<!-- claims -->\n(?P<table>.*?)<!-- /claims -->", re.DOTALL)
LEARNED = re.compile(r"<!-- learned -->\n(?P<table>.*?)<!-- /learned -->", re.DOTALL)
LEADERBOARD = re.compile(r"<!-- leaderboard -->\n(?P<table>.*?)<!-- /leaderboard -->", re.DOTALL)
TUTORIAL = re.compile(
    r"<!-- tutorial -->\n```py\n(?P<code>.*?)```\n.*?```console\n(?P<commands>.*?)```\n\n"
    r"```text\n(?P<output>.*?)```",
    re.DOTALL,
)
DEMO = re.compile(r"<!-- demo -->\n```text\n(?P<output>.*?)```", re.DOTALL)


def text():
    return README.read_text(encoding="utf-8")


def output_of(code):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "__readme__"})
    return printed.getvalue()


def demo_output():
    from distmllm_bench.demo import POLICIES, SCENARIOS, run_demo

    with tempfile.TemporaryDirectory() as folder:
        return run_demo(Path(folder), 20, None, SCENARIOS, POLICIES)[0] + "\n"


def tutorial_output(folder):
    """Save the scheduler, give the commands as they stand in README, return what they print."""
    found = TUTORIAL.search(text())
    (folder / "mine.py").write_text(found["code"], encoding="utf-8")
    printed = []
    for command in found["commands"].strip().splitlines():
        program, *words = shlex.split(command)
        assert program == "distmllm"
        done = subprocess.run(
            [sys.executable, "-m", "distmllm_bench", *words],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    return "\n".join(printed)


def leaderboard_table():
    """The official leaderboard, from the reference copy of its CSV file."""
    with (README.parent / "docs" / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    out = ["| division | rank | policy | knows | decides | score | of optimum | |"]
    out.append("|:--|--:|:--|:--|:--|:--|--:|:--|")
    for row in rows:
        score = f"{float(row['score']):.3f} [{float(row['low']):.3f}, {float(row['high']):.3f}]"
        known = row["knows"].replace("_", ", ")
        known += ", pretrained" if row["pretrained"] == "True" else ""
        who = "together" if row["coordinates"] == "True" else "each alone"
        out.append(
            f"| {row['division']} | {row['rank']} | {title(row['policy'])} | {known} | {who} "
            f"| {score} | {float(row['of_optimum']):.1%} | {row['verdict']} |"
        )
    return "\n".join(out) + "\n"


def learned_table():
    from distmllm_bench.learning import table

    return table(range(20))


def claims_table():
    """The ledger in short, from the reference copy."""
    rows = json.loads((REFERENCE / "claims.json").read_text("utf-8"))
    with (REFERENCE / "robustness.csv").open(encoding="utf-8", newline="") as file:
        shares = {}
        for row in csv.DictReader(file):
            shares.setdefault(row["claim"], float(row["holds"]))  # the main reading comes first
    out = ["| claim | | verdict | draws |", "|:--|:--|:--|--:|"]
    for row in rows:
        share = f"{shares[row['id']]:.0%}" if row["id"] in shares else ""
        out.append(f"| {row['id']} | {row['claim']} | {row['verdict']} | {share} |")
    return "\n".join(out) + "\n"


def test_every_python_block_has_its_output_beside_it():
    assert len(BLOCK.findall(text())) == text().count("```python") >= 4


@pytest.mark.parametrize("block", list(BLOCK.finditer(text())), ids=lambda b: f"at {b.start()}")
def test_python_block(block):
    assert output_of(block["code"]) == block["output"]


def test_the_tutorial(tmp_path):
    found = TUTORIAL.search(text())
    assert sum(bool(line.strip()) for line in found["code"].splitlines()) <= 12
    assert tutorial_output(tmp_path) == found["output"]


def test_leaderboard():
    assert leaderboard_table() == LEADERBOARD.search(text())["table"]


def test_demo_output():
    assert demo_output() == DEMO.search(text())["output"]


SLOW = ("ppo", "greedy")
"""Their numbers are checked on ``testbed`` only; ``python tests/test_readme.py`` makes all anew."""


def test_learned_table():
    from distmllm_bench.learning import POLICIES, SCENARIOS, shares
    from distmllm_env import Scenario

    head, _, *rows = LEARNED.search(text())["table"].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *rows)]
    assert cells[0] == ["policy", "knows", *SCENARIOS]
    assert [row[0] for row in cells[1:-1]] == [title(policy) for policy in POLICIES]
    for column, name in enumerate(SCENARIOS, start=2):
        players = [p for p in POLICIES if name == "testbed" or p not in SLOW]
        found = shares(Scenario.load(name), players, range(20))
        for policy in players:
            assert cells[1 + POLICIES.index(policy)][column] == str(found[policy]), (name, policy)


def test_claims_table():
    assert claims_table() == CLAIMS.search(text())["table"]


def test_the_count_of_verdicts():
    rows = json.loads((REFERENCE / "claims.json").read_text("utf-8"))
    for verdict in {row["verdict"] for row in rows}:
        count = sum(row["verdict"] == verdict for row in rows)
        assert f"{count} {verdict}" in " ".join(text().split())


def test_files_that_readme_names_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", text()):
        assert (README.parent / target).exists(), target


if __name__ == "__main__":
    page = text()
    page = BLOCK.sub(
        lambda b: f"```python\n{b['code']}```\n\n```text\n{output_of(b['code'])}```", page
    )
    page = DEMO.sub(lambda b: f"<!-- demo -->\n```text\n{demo_output()}```", page)
    page = CLAIMS.sub(lambda b: f"<!-- claims -->\n{claims_table()}<!-- /claims -->", page)
    page = LEARNED.sub(lambda b: f"<!-- learned -->\n{learned_table()}<!-- /learned -->", page)
    board = f"<!-- leaderboard -->\n{leaderboard_table()}<!-- /leaderboard -->"
    page = LEADERBOARD.sub(lambda b: board, page)
    with tempfile.TemporaryDirectory() as folder:
        printed = tutorial_output(Path(folder))
    page = TUTORIAL.sub(lambda b: b[0].replace(b["output"], printed), page)
    README.write_text(page, encoding="utf-8")
