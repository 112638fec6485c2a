"""What has to be set before any test module is imported, and which tests come first."""

import os
import secrets

import pytest

# Ray, which TorchRL imports too, reads these at its import. A token of this test run, which nobody
# else knows; nothing goes into ~/.ray.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16),
    "RAY_USAGE_STATS_ENABLED": "0",
}
os.environ.pop("RAY_ADDRESS", None)

# Minutes of work, and what only one xdist worker can do at a time.
FIRST = ("tests/test_notebooks.py", "tests/bench/test_engines.py", "tests/bench/test_sweep_ray.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that in the end no worker waits for another."""
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
