"""What was handed in, called from outside: its functions run in a process that is kept to a folder.

The tests stay in the process that grades, so there is nothing in the other one to read or to
change but the submission itself; one that hangs, exits or eats the memory fails that test alone.
"""

from __future__ import annotations

import atexit
import importlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distmllm_bench.sweep.child import NO_ANSWER, Answer, Child, OutsideError, serve
from distmllm_bench.teaching.submission import MODULE, prepare
from distmllm_bench.teaching.values import decode, encode

VARIABLE = "DISTMLLM_SUBMISSION"
"""Names the file that is graded."""

CALL_SECONDS = 10.0
"""What one call may take."""

START_SECONDS = 60.0
"""What loading a submission may take: all that its cells compute."""


class SubmissionError(AssertionError):
    """A submission failed at a test: it raised, hung, exited or has no such function."""


class Submission:
    """A submission at work; a new process takes the place of one that died. Close it after use.

    One that cannot be loaded is not loaded again: it would take as long and fail as before.

    Args:
        path: What was handed in, ``.py`` or ``.ipynb``. One that cannot be read fails every test.
        seconds: What one call may take.

    Attributes:
        folder: Where it lies and runs.
    """

    def __init__(self, path: Path, seconds: float = CALL_SECONDS) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="submission-")
        self.folder = Path(self._temporary.name).resolve()
        self._seconds = seconds
        self._child: Child | None = None
        self._errors: list[str] = []
        self._unloadable = ""
        atexit.register(self.close)  # where plain pytest runs the tests, nobody else does
        try:
            prepare(path, self.folder)
        except ValueError as error:
            self._unloadable = str(error)
        except BaseException:
            self.close()
            raise

    def errors(self) -> list[str]:
        """Return what went wrong in its cells, or why it cannot be loaded at all."""
        try:
            self._running()
        except SubmissionError as error:
            return [str(error)]
        return self._errors

    def call(self, name: str, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Call one of its functions.

        Raises:
            SubmissionError: It failed.
        """
        child = self._running()
        child.allow(self._seconds)
        try:
            return decode(child.ask("call", name, given, named)[0]["value"])
        except OutsideError as error:
            if child.dead:
                self._stop()
            raise SubmissionError(f"{name}: {with_place(error)}") from None
        except (KeyError, ValueError) as error:
            raise SubmissionError(f"{name}: {error}") from None
        finally:
            child.allow(None)

    def close(self) -> None:
        """Stop its process and remove its folder."""
        atexit.unregister(self.close)
        self._stop()
        self._temporary.cleanup()

    def _stop(self) -> None:
        """Stop its process; the next call starts another."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _running(self) -> Child:
        """Return its process, a new one where there is none."""
        if self._unloadable:
            raise SubmissionError(self._unloadable)
        if self._child is None:
            self._child = Child(__name__, START_SECONDS, self.folder)
            try:
                told = self._child.ask("load")[0].get("errors")
                if not isinstance(told, list):
                    raise OutsideError(NO_ANSWER)
            except OutsideError as error:
                self._stop()
                self._unloadable = f"it cannot be loaded: {error}"
                raise SubmissionError(self._unloadable) from None
            self._child.allow(None)
            self._errors = [str(error) for error in told]
        return self._child


class SubmittedFunction:
    """A function of a submission; calling it calls the submission's."""

    def __init__(self, submission: Submission, name: str) -> None:
        self._submission, self._name = submission, name

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it; arguments are copied on the way."""
        return self._submission.call(self._name, given, named)

    def __repr__(self) -> str:
        return self._name


class SubmittedClass:
    """A scheduler of a submission, which :func:`.scheduling.share_of_optimum` plays.

    Attributes:
        spec: ``module:Class``.
        folder: Where it lies.
        late: Why it is not played any more, if it was stopped because it took too long.
    """

    def __init__(self, submission: Submission, name: str) -> None:
        self.spec, self.folder = f"{MODULE}:{name}", submission.folder
        self.late = ""

    def __repr__(self) -> str:
        return self.spec


def with_place(error: OutsideError) -> str:
    """Return what went wrong and, if it raised in a cell of the submission, in which line."""
    places = [line.strip() for line in error.trace.splitlines()]
    at = [place for place in places if place.startswith('File "cell ')]
    return f"{error} ({at[-1]})" if at else str(error)


def submitted(functions: Sequence[str], classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the file named by ``$DISTMLLM_SUBMISSION`` defines, to be called from here.

    Args:
        functions: Names.
        classes: Names.

    Raises:
        ValueError: The variable is not set, or there is no such file.
    """
    path = os.environ.get(VARIABLE)
    if not path:
        raise ValueError(f"${VARIABLE} is not set: it names the file to be graded.")
    submission = Submission(Path(path))
    found: dict[str, Any] = {"SUBMISSION": submission}
    found |= {name: SubmittedFunction(submission, name) for name in functions}
    found |= {name: SubmittedClass(submission, name) for name in classes}
    return found


def _content(value: Any) -> Any:
    """Return what a function may not change in its arguments; a generator may move on."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [_content(item) for item in value]
    if isinstance(value, dict):
        return [(repr(key), _content(item)) for key, item in value.items()]
    return repr(value) if isinstance(value, (bool, int, float, str)) else None


def _answer(word: str, *given: Any) -> Answer:
    module = importlib.import_module(MODULE)
    if word == "load":
        return {"errors": module.ERRORS}, b""
    name, arguments, named = given
    function = getattr(module, name)
    before = _content((arguments, named))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # what NumPy says of 0 / 0
        value = encode(function(*arguments, **named))
    if _content((arguments, named)) != before:
        raise ValueError("it changes what it is given")
    return {"value": value}, b""


if __name__ == "__main__":
    serve(_answer)
