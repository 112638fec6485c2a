"""README tells the truth: its Python blocks run and print what it says, and so does the demo.

``python tests/test_readme.py`` writes the present output into README.
"""

import contextlib
import io
import re
import tempfile
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<output>.*?)```", re.DOTALL)
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


def test_every_python_block_has_its_output_beside_it():
    assert len(BLOCK.findall(text())) == text().count("```python") >= 4


@pytest.mark.parametrize("block", list(BLOCK.finditer(text())), ids=lambda b: f"at {b.start()}")
def test_python_block(block):
    assert output_of(block["code"]) == block["output"]


def test_demo_output():
    assert demo_output() == DEMO.search(text())["output"]


def test_files_that_readme_names_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", text()):
        assert (README.parent / target).exists(), target


if __name__ == "__main__":
    page = text()
    page = BLOCK.sub(
        lambda b: f"```python\n{b['code']}```\n\n```text\n{output_of(b['code'])}```", page
    )
    page = DEMO.sub(lambda b: f"<!-- demo -->\n```text\n{demo_output()}```", page)
    README.write_text(page, encoding="utf-8")
