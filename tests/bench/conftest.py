"""What is made once for all xdist workers: a folder of results, and a real Ray cluster.

The cluster has two nodes on this machine. The first worker that asks starts it, and stops it when
its tests are done; meanwhile others use it in turns. The processes of a node are those of one
session in the sense of setsid(2), by which they are found and killed. Nothing else of Ray on this
machine is touched.
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

START_S = 90.0
SERVING = ([b"distmllm_bench.sweep.isolation"], [b"distmllm_bench.teaching.remote"])


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Any]]:
    """Call ``once(name, make)``: ``make(folder)`` is run by the first xdist worker that asks.

    Returns the folder and what ``make`` returned, as JSON knows it.
    """
    shared = shared_folder(tmp_path_factory)

    def made(name: str, make: Callable[[Path], Any]) -> tuple[Path, Any]:
        folder, told = shared / name, shared / f"{name}.json"
        with (shared / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not told.exists():
                folder.mkdir()
                told.write_text(json.dumps(make(folder)))
        return folder, json.loads(told.read_text())

    return made


@pytest.fixture(scope="session")
def children() -> Callable[[], list[int]]:
    """Lists the processes of this one that hold code from outside; none without a /proc."""

    def found() -> list[int]:
        pids = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it just ended
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                module = (entry / "cmdline").read_bytes().split(b"\0")[2:3]
                if int(parent) == os.getpid() and module in SERVING:
                    pids.append(int(entry.name))
        return pids

    return found


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of temporary files that all xdist workers of a run have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def ray_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator["RayCluster"]:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    if sys.platform != "linux":
        pytest.skip("the processes of a node are found in /proc")
    cluster = RayCluster(shared_folder(tmp_path_factory))
    yield cluster
    with cluster.mine():
        cluster.stop_if_started_here()


@pytest.fixture
def ray_cluster(ray_clusters: "RayCluster") -> Iterator["RayCluster"]:
    """The cluster, with both nodes alive; no other xdist worker has it at the same time."""
    with ray_clusters.mine():
        try:
            ray_clusters.start()
        except ClusterError as error:
            pytest.skip(f"no Ray cluster on this machine: {error}")
        yield ray_clusters


class ClusterError(RuntimeError):
    """It does not start."""


class RayCluster:
    """Two nodes with one CPU each.

    Attributes:
        head: Session of the processes of the first node, what ``os.getsid(0)`` says in a job there.
        second: The same of the second node; 0 while it is dead.
        starts: How often a second node was started.
    """

    def __init__(self, shared: Path) -> None:
        self._note = shared / "ray-cluster.json"  # what the xdist workers know of the one cluster
        self._lock = shared / "ray-cluster.lock"
        self._started_here = False
        self.head = self.second = self._port = self.starts = 0
        self._folder = ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Wait until nobody else uses the cluster, and keep the others away."""
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            note = json.loads(self._note.read_text()) if self._note.exists() else {}
            self.head, self.second = note.get("head", 0), note.get("second", 0)
            self._port, self.starts = note.get("port", 0), note.get("starts", 0)
            self._folder = note.get("folder", "")
            yield

    def start(self) -> None:
        """Start the nodes that are not alive."""
        if not living(self.head):
            self.stop()
            self._start_head()
        if not living(self.second):
            self.start_second()

    def _start_head(self) -> None:
        self._started_here = True
        # /tmp: the path of a socket has at most 107 characters.
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
        self._port, client, dashboard = free_ports(3)
        self.head = self._node(
            "head",
            "--head",
            f"--port={self._port}",
            f"--ray-client-server-port={client}",
            f"--dashboard-port={dashboard}",
            "--include-dashboard=false",
            "--disable-usage-stats",
            f"--temp-dir={self._folder}",
        )
        self._write()
        self._wait_for("head", self.head)

    def start_second(self) -> None:
        """Start the second node, and wait until it has joined."""
        assert not living(self.second)
        self.starts += 1
        name = f"second-{self.starts}"
        self.second = self._node(name, f"--address={self.address}")
        self._write()
        self._wait_for(name, self.second)

    def kill_second(self) -> None:
        """Kill all processes of the second node at once, as a power cut does."""
        end(self.second)
        self.second = 0
        self._write()

    def stop(self) -> None:
        """Kill both nodes and remove their files."""
        end(self.second)
        end(self.head)
        self.head = self.second = 0
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""
        self._note.unlink(missing_ok=True)

    def stop_if_started_here(self) -> None:
        if self._started_here:
            self.stop()

    def _node(self, name: str, *options: str) -> int:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        command += [f"--node-name={name}", "--num-cpus=1", "--include-log-monitor=false"]
        # Not in /dev/shm, which is small in a container.
        command += ["--object-store-memory=100000000", f"--plasma-directory={self._folder}"]
        log = str(self._log(name))
        # As on another machine, a node is not started in the folder of the program.
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", 'cd "$0" && exec "$@"', self._folder, *command],
            dict(os.environ),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    def _log(self, name: str) -> Path:
        return Path(self._folder) / f"{name}.log"

    def _write(self) -> None:
        note = {"head": self.head, "second": self.second, "folder": self._folder}
        note |= {"port": self._port, "starts": self.starts}
        self._note.write_text(json.dumps(note))

    def _wait_for(self, name: str, session: int) -> None:
        until = time.monotonic() + START_S
        while not self._has(name):
            if not living(session) or time.monotonic() > until:
                log = self._log(name).read_text()
                self.stop()
                raise ClusterError(f"{name} did not start\n{log}")
            time.sleep(0.1)

    def _has(self, name: str) -> bool:
        # Not ray.init and ray.nodes: they take half a second of CPU, every time.
        from ray._raylet import GcsClient

        try:
            with socket.create_connection(("127.0.0.1", self._port)):
                pass
            nodes = GcsClient(address=self.address).get_all_node_info(timeout=5.0).values()
        except (ConnectionError, RuntimeError):
            return False
        return any(node.node_name == name and node.state == node.ALIVE for node in nodes)


def living(session: int) -> list[int]:
    """Return the processes of a session, without those that are dead and not yet collected."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it just ended
            state, _, _, its = stat.read_text().rpartition(")")[2].split()[:4]
            if int(its) == session and state != "Z":
                pids.append(int(stat.parent.name))
    return pids if session else []


def end(session: int) -> None:
    """Kill the processes of a session and wait until they are gone; there is none for 0.

    In a container, 0 is also what the tests' own session is called if it was begun outside.
    """
    if not session:
        return
    assert session != os.getsid(0)
    while pids := living(session):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    with suppress(ChildProcessError):  # the child of another xdist worker
        os.waitpid(session, 0)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
