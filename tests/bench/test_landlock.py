"""What the kernel keeps a process from, without any help of Python's."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from distmllm_bench import landlock

VERSION = landlock.version()
pytestmark = pytest.mark.skipif(not VERSION, reason="this kernel has no Landlock")

DRIVER = """
import json, os, socket, subprocess, sys, threading
from pathlib import Path
from distmllm_bench import landlock

own, other, port, cases = json.loads(sys.argv[1])
own, other, none = Path(own), Path(other), Path("/none")
held = os.open(other / "kept.txt", os.O_RDONLY)
roots = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr/lib"), Path("/lib"), none]
found = landlock.confine([other / "read", other / "one.txt", *roots], [own, Path(os.devnull)])
print(json.dumps({"version": found}), flush=True)
for name, code in cases.items():
    try:
        exec(code)
        told = "done"
    except BaseException as error:
        told = getattr(error, "errno", None) or f"{type(error).__name__}: {error}"
    print(json.dumps({name: told}), flush=True)
"""
# Permission denied, or not permitted: what the code raises -> from which version on.
REFUSED = {
    "read": ("open(other / 'kept.txt')", 1),
    "list": ("os.listdir(other)", 1),
    "write": ("open(other / 'new', 'w')", 1),
    "write what may be read": ("open(other / 'one.txt', 'a')", 1),
    "write below what may be read": ("open(other / 'read' / 'new', 'w')", 1),
    "write through a link": ("os.symlink(other, own / 'way'); open(own / 'way' / 'n', 'w')", 1),
    "remove": ("os.remove(other / 'kept.txt')", 1),
    "rename out": ("(own / 'a').touch(); os.rename(own / 'a', other / 'a')", 1),
    "folder": ("os.mkdir(other / 'x')", 1),
    "remove folder": ("os.rmdir(other / 'empty')", 1),
    "symbolic link": ("os.symlink(own, other / 'x')", 1),
    "pipe": ("os.mkfifo(own / 'pipe')", 1),
    "program": ("subprocess.run([sys.executable, '-c', ''])", 1),
    "truncate": ("os.truncate(other / 'kept.txt', 0)", 3),
    "connect": ("socket.create_connection(('127.0.0.1', port))", 4),
    "serve": ("socket.socket().bind(('127.0.0.1', 0))", 4),
    "signal": ("os.kill(os.getppid(), 0)", 6),
}
ALLOWED = {
    "write": "(own / 'x').write_text('y'); assert (own / 'x').read_text() == 'y'",
    "append": "open(own / 'x', 'a').write('z'); assert (own / 'x').read_text() == 'yz'",
    "folders": "os.makedirs(own / 'b' / 'c'); os.rename(own / 'b', own / 'd')",
    "remove": "os.rmdir(own / 'd' / 'c'); os.remove(own / 'x')",
    "truncate": "(own / 't').write_text('abc'); os.truncate(own / 't', 1)",
    "read a file": "assert open(other / 'one.txt').read() == 'one'",
    "read below": "assert os.listdir(other / 'read') == ['in']; open(other / 'read/in')",
    "nothing": "open(os.devnull, 'w').write('x')",
    "open already": "assert os.read(held, 9) == b'kept'",
    "import": "import csv, decimal, numpy.linalg",
    "itself": "os.kill(os.getpid(), 0)",
    "threads": (
        "told = []\n"
        "def read():\n"
        "    try: open(other / 'kept.txt')\n"
        "    except PermissionError: told.append(1)\n"
        "t = threading.Thread(target=read); t.start(); t.join(); assert told"
    ),
    "children": (
        "child = os.fork()\n"
        "if not child:\n"
        "    try: open(other / 'kept.txt')\n"
        "    except PermissionError: os._exit(7)\n"
        "    os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7"
    ),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    base = tmp_path_factory.mktemp("landlock")
    own, other = base / "own", base / "other"
    for folder in (own, other, other / "read", other / "empty"):
        folder.mkdir()
    (other / "kept.txt").write_text("kept")
    (other / "one.txt").write_text("one")
    (other / "read" / "in").touch()
    names = {f"refused: {name}": code for name, (code, _) in REFUSED.items()}
    names |= {f"allowed: {name}": code for name, code in ALLOWED.items()}
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = json.dumps([str(own), str(other), server.getsockname()[1], names])
        answer = subprocess.run(
            [sys.executable, "-c", DRIVER, given], capture_output=True, text=True, timeout=60
        )
    found = {}
    for line in answer.stdout.splitlines():
        found |= json.loads(line)
    assert found.keys() == {"version", *names}, answer.stderr
    found["left"] = sorted(str(path.relative_to(other)) for path in other.rglob("*"))
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_refused(told, name):
    _, since = REFUSED[name]
    if since > VERSION:
        pytest.skip(f"Landlock {VERSION} does not know it")
    assert told[f"refused: {name}"] in (1, 13, 18), told[f"refused: {name}"]


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(told, name):
    assert told[f"allowed: {name}"] == "done"


def test_says_the_version_and_leaves_the_rest_alone(told):
    assert told["version"] == VERSION
    assert told["left"] == ["empty", "kept.txt", "one.txt", "read", "read/in"]


def test_the_same_is_done_without_it(tmp_path):
    """What is refused would work: the refusals are no other errors."""
    (tmp_path / "kept.txt").write_text("kept")
    assert os.listdir(tmp_path) == ["kept.txt"]
    os.kill(os.getppid(), 0)
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


def test_a_kernel_without_it(monkeypatch, tmp_path):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert landlock.confine([], [tmp_path]) == 0
    assert Path(__file__).read_text()


def test_a_refusal_of_the_kernel_is_told():
    with pytest.raises(OSError, match="Landlock: "):
        landlock._checked("syscall", 446, -1, 0)
