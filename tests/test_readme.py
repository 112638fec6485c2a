"""README tells the truth: its Python blocks run and print what it says, and so does the demo.

``python tests/test_readme.py`` writes the present output into README.
"""

import contextlib
import csv
import io
import json
import re
import tempfile
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<output>.*?)```", re.DOTALL)
REFERENCE = README.parent / "docs" / "reproduced"
CLAIMS = re.compile(r"<!-- claims -->\n(?P<table>.*?)<!-- /claims -->", re.DOTALL)
LEARNED = re.compile(r"<!-- learned -->\n(?P<table>.*?)<!-- /learned -->", re.DOTALL)
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


def test_demo_output():
    assert demo_output() == DEMO.search(text())["output"]


def test_learned_table():
    assert learned_table() == LEARNED.search(text())["table"]


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
    README.write_text(page, encoding="utf-8")
