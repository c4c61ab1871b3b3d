"""`make faults`: every row of the matrix, one after the other, and the table of how they went."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import django

from tests.faults.matrix.database import Server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="names of rows; none: all of them")
    parser.add_argument("--orders", type=int, default=200, help="orders that a row places")
    parser.add_argument(
        "--away", type=float, default=60, help="seconds for which the database is unreachable"
    )
    parser.add_argument(
        "--untimed", action="store_true", help="let nothing fail only for having taken long"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="storefront-faults-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server runs as a user of its own
        (folder / "pg").mkdir()
        server = Server(folder / "pg")
        try:
            return _run(folder, server, asked)
        finally:
            log = folder / "store" / "store.log"
            if "KEEP_LOG" in os.environ and log.exists():
                Path(os.environ["KEEP_LOG"]).write_bytes(log.read_bytes())
            server.close()


def _run(folder: Path, server: Server, asked: argparse.Namespace) -> int:
    (folder / "store").mkdir()
    os.environ |= {
        "DATABASE_URL": server.url,
        "DATA_DIR": str(folder / "store"),
        "DJANGO_SETTINGS_MODULE": "storefront.settings",
        "LOG_LEVEL": "CRITICAL",
    }
    django.setup()
    from tests.faults.matrix.proofs import reconnect
    from tests.faults.matrix.rows import ROWS, world

    unknown = [name for name in asked.rows if name not in ROWS]
    if unknown:
        print(f"No such row: {', '.join(unknown)}. There are: {', '.join(ROWS)}.")
        return 2
    failed = 0
    print(f"{'fault':72} {'':6} {'s':>5}  result", flush=True)
    load = {"orders": asked.orders, "away": asked.away, "timed": not asked.untimed}
    with world(folder / "store", server, **load) as stage:
        for name in asked.rows or ROWS:
            title, run = ROWS[name]
            begun = time.monotonic()
            reconnect()  # the row before may have cut our own connection
            try:
                word, told = "holds", run(stage)
            except Exception as error:  # the next row is still worth knowing
                where = traceback.extract_tb(error.__traceback__)[-1]
                word, told = "BROKEN", f"{type(error).__name__}: {error} ({where.line})"
                failed += 1
            spent = time.monotonic() - begun
            print(f"{title:72} {word:6} {spent:5.0f}  {told}", flush=True)
    print(f"{len(asked.rows or ROWS) - failed} rows hold, {failed} broken.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
