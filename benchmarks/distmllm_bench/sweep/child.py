"""A process for code from outside: it answers questions, and may die, hang or lie without harm.

Questions go there pickled; answers come back as a line of JSON and bytes, never as code. An answer
bears the number of its question, so that nothing said out of turn is taken for one.
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

MOST_BYTES = 1 << 28
"""Length of the longest answer."""

NO_ANSWER = "its process sent something that is no answer."
"""What is said of a process that breaks the protocol."""

# Variables that a process in a folder of its own still sees.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")


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

    It leads a session of its own: Ctrl-C is for the one that asks, and what it starts ends with it.

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
        self._late = self._killed = False
        self._number = 0
        self._socket, theirs = socket.socketpair()
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
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._connection = Connection(os.dup(self._socket.fileno()))
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
        self._number += 1
        content = pickle.dumps((self._number, *message), pickle.HIGHEST_PROTOCOL)
        try:
            self._connection.send_bytes(content)
        except OSError as error:
            raise self._death() from error

    def ask(self, *message: Any) -> Answer:
        """Send a word and wait for the answer.

        Raises:
            OutsideError: It failed, or the process is gone or talks nonsense; then it is stopped.
        """
        self.send(*message)
        try:
            while not self._connection.poll(0.1):
                # What it started may hold the channel open when it is gone.
                if self.dead and not self._connection.poll(0):
                    raise EOFError
            answer = self._connection.recv_bytes(MOST_BYTES)
        except EOFError as error:
            raise self._death() from error
        except OSError as error:  # too long; or the timer shut the channel
            raise self._death(NO_ANSWER) from error
        line, _, body = answer.partition(b"\n")
        try:
            head = json.loads(line)
            number, failed, trace = head.get("number"), head.get("error"), head.get("trace", "")
            if number != self._number:
                raise ValueError(number)
        except (ValueError, AttributeError, RecursionError) as error:
            raise self._death(NO_ANSWER, 0.0) from error
        if failed is not None:
            raise OutsideError(_plain(str(failed), 1000), _plain(str(trace), 4000))
        return head, body

    @property
    def dead(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Stop the process."""
        self.allow(None)
        self._kill()
        self._process.wait()
        self._connection.close()
        self._socket.close()

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
        self._kill()
        with suppress(OSError):  # closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def _kill(self) -> None:
        """Kill the process and what it started in its session: once, for the number may return."""
        if not self._killed:
            self._killed = True
            # Nothing is left; macOS says the second where the process was not waited for.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _death(
        self, otherwise: str = "its process hung up.", patience: float = 1.0
    ) -> OutsideError:
        """Stop the process and say why there will be no answer.

        Args:
            otherwise: What to say if it does not end by itself.
            patience: Seconds in which it may.
        """
        if self._timer is not None:
            self._timer.cancel()
        try:
            self._process.wait(patience)
            alone = True
        except subprocess.TimeoutExpired:
            alone = False
        self._kill()
        code = self._process.wait()
        if self._late:
            why = f"it took longer than {self._seconds:g} s and was stopped."
            return OutsideError(why, late=True)
        if not alone:
            return OutsideError(otherwise)
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
    parent = os.getppid()
    connection = Connection(int(sys.argv[1]))
    if len(sys.argv) > 2:
        from distmllm_bench.sandbox import restrict

        restrict(Path(sys.argv[2]))
    # From here on, for the kernel restricts each thread by itself and those that it starts.
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    failed: dict[str, str] | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            number, word, *given = pickle.loads(connection.recv_bytes())
            told, line, body = failed, "", b""
            if failed is None:
                try:
                    head, body = answer(word, *given)
                    line = json.dumps({**head, "number": number})
                except BaseException as error:  # whatever code from outside may raise
                    told = {"error": error_text(error), "trace": _trace(error)}
            if word in quiet:
                failed = told
            else:
                line = line if told is None else json.dumps({**told, "number": number})
                connection.send_bytes(line.encode() + b"\n" + body)


def error_text(error: BaseException) -> str:
    """Return kind and message of an error, without addresses: they differ from run to run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", f"{type(error).__name__}: {error}")
    return _plain(" ".join(text.split()), 1000)


def _plain(text: str, most: int) -> str:
    """Return a text that is not too long and that any file can hold."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _environment(folder: Path | None) -> dict[str, str]:
    """What the process starts with: the caller's import path, one thread, fixed hashes.

    In a folder of its own it sees no variable that tells of the caller, and has its temporary files
    there.
    """
    kept = os.environ if folder is None else {x: os.environ[x] for x in _KEPT if x in os.environ}
    own = {} if folder is None else {"TMPDIR": str(folder)}
    paths = [*own.values(), *(os.path.abspath(path) for path in sys.path if path)]
    return {
        **kept,
        **own,
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
    with suppress(Exception):  # a sandbox refuses it, and programs of its own as well
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(0)
