"""A process that keeps itself to a folder: what it may still do, and what it is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from distmllm_bench import landlock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc of Linux")

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "notebooks" / "assignments" / "a1_bandits.py"

DRIVER = """
import json, os, resource, signal, socket, subprocess, sys, threading
from pathlib import Path
from distmllm_bench.sandbox import restrict

own, other, limit, cases = json.loads(sys.argv[1])
names = {"own": Path(own), "other": Path(other), "parent": os.getppid(), "Path": Path, "os": os,
         "held": os.open(other + "/kept.txt", os.O_RDONLY)}
os.chdir(own)
restrict(Path(own), *([limit] if limit else []))
told = {}
for name, code in cases.items():
    try:
        exec(code, dict(names))
        told[name] = "done"
    except BaseException as error:
        told[name] = f"{type(error).__name__}: {error}"
    print(json.dumps({name: told[name]}), flush=True)
"""


def restricted(own, other, cases, limit=None):
    """What became of each piece of code, run one after the other in one restricted process."""
    given = json.dumps([str(own), str(other), limit, cases])
    answer = subprocess.run(
        [sys.executable, "-c", DRIVER, given], capture_output=True, text=True, timeout=60
    )
    told = {}
    for line in answer.stdout.splitlines():
        told |= json.loads(line)
    assert told.keys() == cases.keys(), answer.stderr
    return told


REFUSED = {
    # what a submission may not do -> code, and what it is told
    "write": ("open(other / 'new', 'w')", "may not write {other}/new: {own} only"),
    "append": ("open(other / 'kept.txt', 'a')", "may not write {other}/kept.txt"),
    "write both": ("open(other / 'kept.txt', 'r+')", "may not write {other}/kept.txt"),
    "bytes": ("open(bytes(other / 'new'), 'wb')", "may not write {other}/new"),
    "create": ("os.open(other / 'new', os.O_CREAT)", "may not write {other}/new"),
    "truncate on opening": (
        "os.open(other / 'kept.txt', os.O_RDONLY | os.O_TRUNC)",
        "may not write {other}/kept.txt",
    ),
    "relative": ("open('../other/new', 'w')", "may not write ../other/new"),
    "through a link": ("open(own / 'way' / 'new', 'w')", "may not write {own}/way/new"),
    "folder of a like name": ("open(str(own) + '-too', 'w')", "may not write {own}-too"),
    "numpy save": ("import numpy; numpy.save(other / 'n', [1])", "may not write {other}/n.npy"),
    "numpy tofile": (
        "import numpy; numpy.arange(3).tofile(other / 'n')",
        "may not write {other}/n",
    ),
    "sqlite": ("import sqlite3; sqlite3.connect(other / 'db').execute('create table t (x)')", ""),
    "read": ("open(other / 'kept.txt')", "may not read {other}/kept.txt"),
    "read through a link": ("open(own / 'way' / 'kept.txt')", "may not read {own}/way/kept.txt"),
    "read passwords": ("open('/etc/passwd')", "may not read /etc/passwd"),
    "numpy load": ("import numpy; numpy.fromfile(other / 'kept.txt')", "may not read"),
    "source of the assignment": (f"open({str(SOURCE)!r})", f"may not read {SOURCE}"),
    "tests of this project": (f"open({__file__!r})", f"may not read {__file__}"),
    "memory of the grader": (
        "open(f'/proc/{parent}/mem', 'rb')",
        "may not read /proc/{parent}/mem",
    ),
    "command of the grader": (
        "open(f'/proc/{parent}/cmdline', 'rb')",
        "may not read /proc/{parent}/cmdline",
    ),
    "list": ("os.listdir(other)", "may not list {other}"),
    "walk": ("next(os.scandir(own / 'way'))", "may not list {own}/way"),
    "remove": ("os.remove(other / 'kept.txt')", "may not change {other}/kept.txt"),
    "unlink": ("(other / 'kept.txt').unlink()", "may not change {other}/kept.txt"),
    "rename out": ("os.rename(own / 'mine', other / 'x')", "may not change {other}/x"),
    "rename in": ("os.replace(other / 'kept.txt', own / 'x')", "may not change {other}/kept.txt"),
    "folder": ("os.mkdir(other / 'x')", "may not change {other}/x"),
    "remove folder": ("os.rmdir(other / 'empty')", "may not change {other}/empty"),
    "remove tree": ("import shutil; shutil.rmtree(other)", ""),
    "hard link": ("os.link(other / 'kept.txt', own / 'x')", "may not change {other}/kept.txt"),
    "symbolic link": ("os.symlink(own, other / 'x')", "may not change {other}/x"),
    "truncate": ("os.truncate(other / 'kept.txt', 0)", "may not change {other}/kept.txt"),
    "mode": ("os.chmod(other / 'kept.txt', 0)", "may not change {other}/kept.txt"),
    "owner": ("os.chown(other / 'kept.txt', -1, -1)", "may not change {other}/kept.txt"),
    "times": ("os.utime(other / 'kept.txt', (1, 1))", "may not change {other}/kept.txt"),
    "pipe": ("os.mkfifo(other / 'pipe')", "may not call os.mkfifo"),
    "pipe by another name": ("import posix; posix.mkfifo(other / 'pipe')", "may not call posix"),
    "node": ("os.mknod(other / 'node')", "may not call os.mknod"),
    "program": ("import subprocess; subprocess.run(['true'])", "may not start a program"),
    "shell": ("os.system('true')", "may not start a program (os.system)"),
    "popen": ("os.popen('true')", "may not start a program"),
    "exec": ("os.execv('/bin/true', ['true'])", "may not start a program (os.exec)"),
    "spawn": ("os.posix_spawn('/bin/true', ['true'], {{}})", "may not start a program"),
    "beneath subprocess": (
        "from multiprocessing.util import spawnv_passfds as s; s(b'/bin/true', [b'true'], [])",
        "may not call _posixsubprocess.fork_exec",
    ),
    "fork": ("os.fork() or os._exit(0)", "may not start a program (os.fork)"),
    "forkpty": ("os.forkpty()[0] or os._exit(0)", "may not start a program (os.forkpty)"),
    "multiprocessing": (
        "import multiprocessing as m; m.get_context('fork').Process(target=print).start()",
        "may not start a program (os.fork)",
    ),
    "socket": ("import socket; socket.socket()", "may not open a connection"),
    "pair of sockets": ("import socket; socket.socketpair()", "may not open a connection"),
    "look-up": (
        "import socket; socket.getaddrinfo('localhost', 80)",
        "may not open a connection (socket.getaddrinfo)",
    ),
    "address": (
        "import urllib.request as u; u.urlopen('http://127.0.0.1:9')",
        "may not open a connection (urllib.Request)",
    ),
    "signal": ("os.kill(parent, 0)", "may not send a signal (os.kill)"),
    "signal to a group": ("os.killpg(os.getpgid(parent), 0)", "may not send a signal (os.killpg)"),
    "signal by descriptor": (
        "import signal; signal.pidfd_send_signal(os.pidfd_open(parent), 0)",
        "",
    ),
    "ctypes": ("import ctypes; ctypes.CDLL(None)", "may not load a library by ctypes"),
    "ctypes, Python itself": (
        "import ctypes; ctypes.pythonapi.Py_GetVersion()",
        "may not load a library by ctypes",
    ),
    "limits": (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 31, 1 << 31))",
        "may not change its limits (resource.setrlimit)",
    ),
    "limits of the grader": (
        "import resource as r; r.prlimit(parent, r.RLIMIT_CORE, (0, 0))",
        "may not change its limits (resource.prlimit)",
    ),
    "another way to look at a path": (
        "os.path.realpath = lambda path, **how: str(own)\nopen(other / 'kept.txt')",
        "may not read {other}/kept.txt",
    ),
}
ALLOWED = {
    "write in its folder": "(own / 'a').write_text('x')\nassert (own / 'a').read_text() == 'x'",
    "folders in its folder": "os.makedirs(own / 'b' / 'c')\nos.rename(own / 'b', own / 'd')",
    "remove in its folder": "import shutil\nos.makedirs('e/f')\nshutil.rmtree('e')",
    "relative": "open('g', 'w').close()\nos.remove('g')",
    "temporary": (
        "import tempfile\n"
        "with tempfile.TemporaryFile(dir=own) as file:\n    file.write(b'x')\n"
        "with tempfile.TemporaryDirectory(dir=own) as made:\n    Path(made, 'x').touch()\n"
    ),
    "nothing": "open(os.devnull, 'w').write('x')\nopen(os.devnull).read()",
    "open already": "assert os.fdopen(held).read() == 'kept'",
    "random": "import random, secrets\nsecrets.token_hex()\nopen('/dev/urandom', 'rb').read(1)",
    "itself": "assert 'VmPeak' in open('/proc/self/status').read()",
    "standard library": "import asyncio, csv, decimal, sqlite3, unittest, uuid, xml.etree",
    "numpy": "import numpy as np\nassert np.linalg.det(np.eye(3)) == 1\nnp.random.default_rng()",
    "numpy file": "import numpy as np\nnp.save(own / 'n', [1])\nassert np.load(own / 'n.npy') == 1",
    "scipy": (
        "from scipy.optimize import linear_sum_assignment, milp\nfrom scipy import stats, sparse\n"
        "assert list(linear_sum_assignment([[1, 0], [0, 1]])[1]) == [1, 0]\n"
    ),
    "ortools": (
        "from ortools.sat.python import cp_model\nm = cp_model.CpModel()\n"
        "x = m.new_int_var(0, 7, 'x')\nm.maximize(x)\ns = cp_model.CpSolver()\n"
        "s.solve(m)\nassert s.value(x) == 7\n"
    ),
    "mapping": "from distmllm_agents.mapping import SOLVERS\nassert 'sequential' in SOLVERS",
    "environment": (
        "from distmllm_env import Scenario, play, load_policy\n"
        "play(Scenario.load('toy', slots=3), load_policy('heu'), [0])\n"
    ),
    "thread": (
        "import threading\nseen = []\nt = threading.Thread(target=lambda: seen.append(1))\n"
        "t.start()\nt.join()\nassert seen\n"
    ),
    "clock": "import datetime, time, zoneinfo\ntime.localtime()\ndatetime.datetime.now()",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("sandbox").resolve()
    own, other = base / "own", base / "other"
    for folder in (own, other, other / "empty"):
        folder.mkdir()
    (other / "kept.txt").write_text("kept")
    (own / "mine").write_text("mine")
    (own / "way").symlink_to(other)
    return own, other


def listing(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def refused(folders):
    own, other = folders
    before = listing(other)
    cases = {name: code.replace("{{}}", "{}") for name, (code, _) in REFUSED.items()}
    found = restricted(own, other, cases)
    found["left"] = (before, listing(other), (other / "kept.txt").read_text())
    return found


@pytest.fixture(scope="module")
def allowed(folders):
    return restricted(*folders, ALLOWED)


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_with_a_reason(self, refused, folders, name):
        own, other = folders
        words = {"own": str(own), "other": str(other), "parent": os.getpid()}
        assert refused[name].startswith("PermissionError: a submission may not "), refused[name]
        assert REFUSED[name][1].format(**words) in refused[name]

    def test_nothing_happened(self, refused, folders):
        before, after, kept = refused["left"]
        assert after == before
        assert kept == "kept"
        assert (folders[0] / "mine").exists()

    def test_the_same_is_done_without_it(self, folders):
        """What is refused would work: the refusals above are no other errors."""
        own, other = folders
        open(other / "new", "w").close()
        (other / "new").unlink()
        assert (own / "way" / "kept.txt").read_text() == "kept"
        assert SOURCE.read_text()


class TestAllowed:
    @pytest.mark.parametrize("name", ALLOWED)
    def test_done(self, allowed, name):
        assert allowed[name] == "done"

    def test_temporary_files_of_one_whose_folder_it_is(self, folders):
        own, other = folders
        code = "import tempfile\ntempfile.tempdir = str(own)\ntempfile.mkdtemp()"
        assert restricted(own, other, {"x": code}) == {"x": "done"}


class TestCompiledLibraries:
    """They open files without Python's knowledge; the kernel keeps them to the folder."""

    MODEL = (
        "from ortools.sat.python import cp_model\n"
        "model = cp_model.CpModel()\nmodel.new_int_var(0, 7, 'x')\n"
        "assert model.export_to_file(str({folder} / 'model.txt')) is {done}"
    )

    def test_write_in_the_folder_alone(self, folders):
        if not landlock.version():
            pytest.skip("this kernel has no Landlock")
        own, other = folders
        cases = {
            "own": self.MODEL.format(folder="own", done=True),
            "other": self.MODEL.format(folder="other", done=False),
        }
        assert restricted(own, other, cases) == dict.fromkeys(cases, "done")
        assert (own / "model.txt").exists()
        assert not (other / "model.txt").exists()


class TestLimits:
    def test_length_of_a_file(self, folders):
        own, _ = folders
        cases = {
            "short": "Path('short').write_bytes(bytes(1 << 20))",
            "long": "open('long', 'wb').write(bytes(65 << 20))",
            "still there": "assert sum(range(10)) == 45",
        }
        told = restricted(*folders, cases)
        assert told["short"] == told["still there"] == "done"
        assert "File too large" in told["long"]
        assert (own / "long").stat().st_size <= 64 << 20

    def test_memory(self, folders):
        cases = {
            "small": "assert len(bytearray(50 << 20)) == 50 << 20",
            "large": "bytearray(3 << 30)",
            "numpy": "import numpy as np\nnp.ones(3 << 27)",
            "still there": "assert sum(range(10)) == 45",
        }
        told = restricted(*folders, cases)
        assert told["small"] == told["still there"] == "done"
        assert told["large"].startswith("MemoryError")
        assert "MemoryError" in told["numpy"]

    def test_memory_of_ones_own_choice(self, folders):
        limits = "assert r.getrlimit(r.RLIMIT_AS) == (400 << 20,) * 2"
        cases = {
            "large": "bytearray(500 << 20)",
            "slowly": "kept = []\nwhile True:\n    kept.append(bytearray(16 << 20))",
            "limits": f"import resource as r\n{limits}",
            "no core": "import resource as r\nassert r.getrlimit(r.RLIMIT_CORE) == (0, 0)",
        }
        told = restricted(*folders, cases, 400 << 20)
        assert told["large"].startswith("MemoryError")
        assert told["slowly"].startswith("MemoryError")
        assert told["limits"] == told["no core"] == "done"


MAPPING = """
import numpy as np
from distmllm_agents.mapping import SOLVERS, MappingProblem
from distmllm_agents.mapping import *
rng = np.random.default_rng(5)
problem = MappingProblem(
    utility=rng.normal(2.0, 1.5, size=(7, 3)), weight=rng.integers(1, 4, size=7).astype(float),
    capacity=np.array([[5.0, 4.0, 6.0]]), pool=np.zeros(7, int), allowed=np.ones((7, 3), bool),
)
values = {name: float(SOLVERS[name](problem, None).value) for name in ("exact", "sequential")}
"""


class TestWithoutNumba:
    def test_import_is_refused_as_if_it_were_not_installed(self, folders):
        names = ("numba", "readline", "zmq")
        told = restricted(*folders, {name: f"import {name}" for name in names})
        for name in names:
            assert told[name].startswith("ModuleNotFoundError: ")
            assert name in told[name]

    def test_mapping_finds_the_same_value(self, folders):
        own, other = folders
        code = MAPPING + "\nimport json\n(own / 'values').write_text(json.dumps(values))"
        assert restricted(own, other, {"x": code}) == {"x": "done"}
        found = json.loads((own / "values").read_text())
        names = {}
        exec(MAPPING, names)
        problem = names["problem"]
        best = -np_best(problem)
        assert found["exact"] == pytest.approx(best, abs=1e-4)
        assert found == pytest.approx(names["values"], abs=1e-4)


def np_best(problem):
    """Minus the best value, by going through all mappings of the tasks to three workers or none."""
    import numpy as np

    tasks, workers = problem.utility.shape
    every = np.indices((workers + 1,) * tasks).reshape(tasks, -1)
    padded = np.column_stack([problem.utility, np.zeros(tasks)])
    value = padded[np.arange(tasks)[:, None], every].sum(axis=0)
    for n in range(workers):
        value[problem.weight @ (every == n) > problem.capacity[0, n]] = -np.inf
    return -value.max()
