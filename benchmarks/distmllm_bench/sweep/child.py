"""A process for code from outside: it answers questions, and may die, hang or lie without harm.

Questions go there pickled; answers come back as a line of JSON and bytes, never as code.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distmllm_bench.provenance import THREADS

Answer = tuple[dict[str, Any], bytes]


class OutsideError(Exception):
    """Code from outside broke a contract, raised, died or took too long.

    Attributes:
        trace: Where it happened, if it raised.
        late: Whether it was stopped because it took too long.
    """

    def __init__(self, message: str, trace: str = "", late: bool = False) -> None:
        super().__init__(message)
        self.trace, self.late = trace, late


class Child:
    """A process that serves questions; use as a context manager.

    Args:
        module: What it runs, see :func:`serve`.
        seconds: It is stopped that long after its start; None: never.
        folder: It runs in this folder and is kept to it, see :mod:`distmllm_bench.sandbox`.

    Attributes:
        pid: Its number.
    """

    def __init__(
        self, module: str, seconds: float | None = None, folder: Path | None = None
    ) -> None:
        self._late = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    module,
                    str(theirs.fileno()),
                    *([str(folder)] * bool(folder)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd=folder,
                env=_environment(folder),
            )
        self.pid = self._process.pid
        self._connection = Connection(ours.detach())
        self._timer: threading.Timer | None = None
        self.allow(seconds)

    def allow(self, seconds: float | None) -> None:
        """Set how long it may live from now on; None: for ever."""
        if self._timer is not None:
            self._timer.cancel()
        self._seconds, self._timer = seconds, None
        if seconds is not None:
            self._timer = threading.Timer(seconds, self._stop)
            self._timer.daemon = True
            self._timer.start()

    def send(self, *message: Any) -> None:
        """Send a word and what belongs to it, without waiting.

        Raises:
            OutsideError: The process is gone.
        """
        try:
            self._connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        except OSError as error:
            raise self._death() from error

    def ask(self, *message: Any) -> Answer:
        """Send a word and wait for the answer.

        Raises:
            OutsideError: It failed, or the process is gone or talks nonsense.
        """
        self.send(*message)
        try:
            answer = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._death() from error
        line, _, body = answer.partition(b"\n")
        try:
            head = json.loads(line)
            failed = head.get("error")
        except (ValueError, AttributeError) as error:
            raise OutsideError("its process sent something that is no answer.") from error
        if failed is not None:
            raise OutsideError(str(failed), str(head.get("trace", "")))
        return head, body

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Stop the process."""
        self.allow(None)
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _stop(self) -> None:
        self._late = True
        self._process.kill()

    def _death(self) -> OutsideError:
        self._process.wait()
        if self._late:
            why = f"it took longer than {self._seconds:g} s and was stopped."
            return OutsideError(why, late=True)
        code = self._process.returncode
        if code < 0:
            return OutsideError(f"its process was killed by {signal.Signals(-code).name}.")
        return OutsideError(f"its process ended with exit code {code}.")


def serve(answer: Callable[..., Answer], quiet: frozenset[str] = frozenset()) -> None:
    """Answer the questions of the process that started this one, until it hangs up.

    Args:
        answer: Called with the word and what came with it. What it raises goes back as an error,
            and is the answer to all further questions if the word was a quiet one.
        quiet: Words that nobody waits for an answer to.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    connection = Connection(int(sys.argv[1]))
    if len(sys.argv) > 2:
        from distmllm_bench.sandbox import restrict

        restrict(Path(sys.argv[2]))
    failed: dict[str, str] | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            word, *given = pickle.loads(connection.recv_bytes())
            head: dict[str, Any] = {}
            body = b""
            told = failed
            if failed is None:
                try:
                    head, body = answer(word, *given)
                except (Exception, SystemExit) as error:  # whatever code from outside may raise
                    told = {"error": error_text(error), "trace": _trace(error)}
            if word in quiet:
                failed = told
            else:
                connection.send_bytes(json.dumps(told or head).encode() + b"\n" + body)


def error_text(error: BaseException) -> str:
    """Return kind and message of an error, without addresses: they differ from run to run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", f"{type(error).__name__}: {error}")
    text = " ".join(text.split())
    return text if len(text) <= 1000 else f"{text[:997]}..."


def _environment(folder: Path | None) -> dict[str, str]:
    """What the process starts with: the caller's import path, one thread, fixed hashes."""
    paths = [str(folder)] if folder is not None else []
    paths += [os.path.abspath(path) for path in sys.path if path]
    return {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
    }


def _trace(error: BaseException) -> str:
    """Return where code from outside raised, without our own frames around it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = {__file__, sys.modules["__main__"].__file__}
    theirs = [frame for frame in frames if frame.filename not in ours]
    return "".join(traceback.format_list(theirs))[-4000:]


def _watch(parent: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)
