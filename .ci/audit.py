"""Does the lock hold a version with a known vulnerability? pip-audit asks the OSV database, and its answer is ours.

Where the database cannot be reached this says so and passes, since nobody's change is to blame for that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

OSV_URL = "https://api.osv.dev/v1/query"
PROBE = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "1.0"}
TIMEOUT_SECONDS = 15


def unreachable(url: str) -> str | None:
    """Why the database does not answer; None if it does."""
    request = urllib.request.Request(  # noqa: S310 - https, or what the caller wrote
        url, data=json.dumps(PROBE).encode(), headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above # nosec B310
            json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        return str(error)
    return None


def audit(requirements: Path, url: str) -> int:
    """pip-audit's exit code: 0 without a known vulnerability. The lock is read as it is, nothing is installed."""
    command = [str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(requirements)]
    return subprocess.run(
        [*command, "--require-hashes", "--disable-pip", "--progress-spinner", "off", "-s", "osv", "--osv-url", url],
        check=False,
    ).returncode


def main() -> int:
    """``audit.py requirements.txt``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--osv-url", default=OSV_URL)
    arguments = parser.parse_args()
    if reason := unreachable(arguments.osv_url):
        print(f"NOT AUDITED: {arguments.osv_url} does not answer ({reason}).")
        return 0
    return audit(arguments.requirements, arguments.osv_url)


if __name__ == "__main__":
    sys.exit(main())
