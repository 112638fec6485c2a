"""``distmllm assignments``: student and instructor versions from one source each."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distmllm_bench.teaching.source import SALT, read_assignment, test_file
from distmllm_env.errors import require_extra
from distmllm_env.files import write_atomic

PACKAGE = f"distmllm-env=={version('distmllm-env')}"
_GENERATE = "# generate: true\n"  # of the configuration that an assignment begins with


def build(
    sources: Sequence[Path], out: Path, salt: str = SALT, package: str | None = None
) -> list[dict[str, Any]]:
    """Build assignments.

    For each, ``student/NAME`` holds the notebook without solutions and a pytest file with the tests
    that may be seen; ``instructor/NAME`` the solved notebook, a pytest file with all tests, and the
    autograder of Otter, for Gradescope or ``otter grade``.

    Args:
        sources: Percent-format files with Otter's markers.
        out: Folder; what it held of the same assignments is replaced.
        salt: Word that makes the hidden tests; keep it to yourself.
        package: What the autograder of Otter lets pip install, so that tests and submissions find
            this package; None: this version, from PyPI.

    Returns:
        One row per assignment: its name, points, tests and hidden tests.

    Raises:
        ValueError: A source is not there or its markers do not fit together.
        MissingExtraError: The extra ``teach`` is not installed.
    """
    require_extra("teach", "building assignments", "jupytext", "otter")
    rows = []
    for source in sources:
        assignment = read_assignment(source, salt)
        name = assignment.name
        with tempfile.TemporaryDirectory(prefix="assignment-") as temporary:
            made = _assigned(source, Path(temporary), salt, package or PACKAGE)
            student, instructor = out / "student" / name, out / "instructor" / name
            for folder in (student, instructor):
                shutil.rmtree(folder, ignore_errors=True)
            tests = f"test_{name}.py"
            write_atomic(
                student / f"{name}.ipynb", (made / "student" / f"{name}.ipynb").read_bytes()
            )
            write_atomic(student / tests, test_file(assignment, hidden=False))
            solved = made / "autograder" / f"{name}.ipynb"
            write_atomic(instructor / f"{name}.ipynb", solved.read_bytes())
            write_atomic(instructor / tests, test_file(assignment, hidden=True))
            (archive,) = (made / "autograder").glob("*.zip")
            write_atomic(instructor / f"{name}-autograder.zip", archive.read_bytes())
        every = [test for question in assignment.questions for test in question.tests]
        hidden = sum(test.hidden for test in every)
        row = {"assignment": name, "points": assignment.points}
        rows.append({**row, "tests": len(every), "hidden": hidden})
    return rows


def _assigned(source: Path, folder: Path, salt: str, package: str) -> Path:
    """Let jupytext and Otter make their versions; return the folder where they lie."""
    import jupytext
    from otter.assign import main as assign

    text = source.read_text(encoding="utf-8").replace(SALT, salt)
    text = text.replace(_GENERATE, f"{_GENERATE}# requirements:\n#   - {json.dumps(package)}\n", 1)
    notebook = folder / f"{source.stem}.ipynb"
    jupytext.write(jupytext.reads(text, fmt="py:percent"), notebook)
    made = folder / "made"
    assign(str(notebook), str(made), no_run_tests=True, no_pdfs=True)
    return made
