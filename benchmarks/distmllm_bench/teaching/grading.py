"""``distmllm grade``: tests of an assignment, run by plain pytest on what was handed in."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from distmllm_bench.teaching.remote import VARIABLE
from distmllm_bench.teaching.source import SALT, read_assignment, test_file
from distmllm_bench.teaching.submission import check_name
from distmllm_env.errors import require_extra

_TEST = re.compile(r"test_(?P<question>\w+)_(?P<number>\d+)_(?P<kind>public|hidden)$")


def grade(
    file: Path, tests: Path | None = None, source: Path | None = None, salt: str = SALT
) -> dict[str, Any]:
    """Grade one submission.

    Args:
        file: What was handed in, ``.py`` or ``.ipynb``.
        tests: Its pytest file; None: ``test_NAME.py`` beside it.
        source: Source of the assignment instead, hidden tests included.
        salt: Word that makes the hidden tests, with ``source``.

    Returns:
        ``score`` and ``max`` points, ``questions`` with their tests, ``errors`` of cells, and
        ``seconds``, as JSON knows it. A question's points are split evenly over all its tests;
        those that are not in the file at hand count as not passed. A submission that cannot be
        read is worth nothing, and ``errors`` says why.

    Raises:
        ValueError: There is no such file, or no tests for it.
        MissingExtraError: pytest is not installed.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    require_extra("lab", "grading", "pytest")
    check_name(file)
    with tests_for(file, tests, source, salt) as tests:
        start = time.perf_counter()
        with _environment(file):
            outcomes, errors, keys = _run(tests.resolve())
        seconds = time.perf_counter() - start
    questions = _questions(outcomes, keys["POINTS"], keys["TESTS"])
    return {
        "assignment": tests.stem.removeprefix("test_"),
        "file": str(file),
        "score": round(sum(question["score"] for question in questions), 4),
        "max": sum(question["max"] for question in questions),
        "questions": questions,
        "errors": errors,
        "seconds": round(seconds, 1),
    }


@contextmanager
def tests_for(file: Path, tests: Path | None, source: Path | None, salt: str) -> Iterator[Path]:
    """Give the pytest file for what was handed in, arguments as of :func:`grade`.

    Raises:
        ValueError: There is none.
    """
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        if source is not None:
            found = read_assignment(source, salt)
            tests = Path(folder) / f"test_{found.name}.py"
            tests.write_text(test_file(found, hidden=True), encoding="utf-8")
        elif tests is None:
            tests = file.parent / f"test_{file.stem}.py"
        if not tests.is_file():
            raise ValueError(
                f"no tests for {str(file)!r}: {tests} is not there. Name a file by --tests, or an "
                f"assignment by --assignment."
            )
        yield tests


def text(result: Mapping[str, Any]) -> str:
    """Return what a student reads. Of hidden tests it says no more than how many passed."""
    lines = [f"{result['file']}: {result['score']:g} of {result['max']:g} points"]
    for question in result["questions"]:
        lines.append(f"{question['name']:6}{question['score']:g} of {question['max']:g}")
        for test in question["tests"]:
            if not test["passed"] and not test["hidden"]:
                lines.append(f"      {test['name']}: {test['message']}")
        hidden = [test for test in question["tests"] if test["hidden"]]
        if hidden:
            passed = sum(test["passed"] for test in hidden)
            lines.append(f"      hidden tests: {passed} of {len(hidden)} passed")
        if question["unseen"]:
            lines.append(f"      {question['unseen']} more tests are not in this file")
    lines += [f"in {error}" for error in result["errors"]]
    return "\n".join(lines)


def _questions(
    outcomes: Mapping[str, str], points: Mapping[str, float], tests: Mapping[str, int]
) -> list[dict[str, Any]]:
    questions: list[dict[str, Any]] = []
    for name, most in points.items():
        rows: list[dict[str, Any]] = []
        for test, message in outcomes.items():
            match = _TEST.match(test)
            if match is not None and match["question"] == name:
                hidden = match["kind"] == "hidden"
                rows.append(
                    {"name": test, "hidden": hidden, "passed": not message, "message": message}
                )
        passed = sum(row["passed"] for row in rows)
        score = round(most * passed / tests[name], 4)
        unseen = tests[name] - len(rows)
        questions.append(
            {"name": name, "score": score, "max": most, "tests": rows, "unseen": unseen}
        )
    return questions


class _Recorder:
    """A pytest plugin that keeps what became of every test, and what the test file says."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.errors: list[str] = []
        self.module: Any = None
        self.trouble = ""

    def pytest_collection_finish(self, session: Any) -> None:
        module = session.items[0].module if session.items else None
        if module is not None and hasattr(module, "SUBMISSION"):
            self.module = module
            self.errors = module.SUBMISSION.errors()
        else:
            self.trouble = self.trouble or "it holds no tests made by distmllm assignments"

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.trouble = str(report.longrepr)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.failed:
            name = report.nodeid.rpartition("::")[2]
            self.outcomes[name] = "" if report.passed else _message(report)


def _message(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    whole = " ".join(str(crash.message if crash else report.longrepr).split())
    words = whole.removeprefix("distmllm_bench.teaching.remote.SubmissionError: ")
    return (words if len(words) <= 500 else f"{words[:497]}...") or "it failed"


def _run(tests: Path) -> tuple[dict[str, str], list[str], dict[str, Any]]:
    import pytest

    recorder = _Recorder()
    quiet = io.StringIO()
    words = [str(tests), "-q", "--import-mode=importlib"]
    words += ["-c", os.devnull, "--rootdir", str(tests.parent)]
    # What else goes on in this process is no fault of the submission's, and nothing is left behind.
    for plugin in ("cacheprovider", "unraisableexception", "threadexception"):
        words += ["-p", f"no:{plugin}"]
    try:
        with redirect_stdout(quiet), redirect_stderr(quiet):
            ended = pytest.main(words, plugins=[recorder])
        if ended == pytest.ExitCode.INTERRUPTED and not recorder.trouble:
            raise KeyboardInterrupt  # half of the tests are no grade
    finally:
        if recorder.module is not None:
            recorder.module.SUBMISSION.close()
            sys.modules.pop(recorder.module.__name__, None)  # the next one gets tests of its own
    if recorder.module is None:
        raise ValueError(f"{tests} cannot be run: {recorder.trouble}")
    keys = {name: getattr(recorder.module, name) for name in ("POINTS", "TESTS")}
    return recorder.outcomes, recorder.errors, keys


@contextmanager
def _environment(file: Path) -> Iterator[None]:
    # No plugin of pytest that happens to be installed has a say, or leaves a folder behind.
    ours = {VARIABLE: str(file.resolve()), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ |= ours
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
