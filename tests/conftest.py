"""What has to be set before any test module is imported."""

import os
import secrets

# Ray, which TorchRL imports too, reads these at its import. A token of this test run, which nobody
# else knows; nothing goes into ~/.ray.
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex(16),
    "RAY_USAGE_STATS_ENABLED": "0",
}
os.environ.pop("RAY_ADDRESS", None)
