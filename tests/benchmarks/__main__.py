"""`make bench`: the hot paths on SQLite and PostgreSQL, side by side in one run.

Nothing here is asserted: only the ratios of one run on one machine mean anything.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.processes import environment

MEASURE = (sys.executable, "-m", "tests.benchmarks.measure")
DATABASES = {
    "SQLite": MEASURE,
    "PostgreSQL": (sys.executable, "-m", "tests.postgres", *MEASURE),
}


def measured(command: tuple[str, ...]) -> dict[str, tuple[float, str]]:
    """What one database took: a number and its unit for each thing measured."""
    with tempfile.TemporaryDirectory(prefix="storefront-bench-") as folder:
        (Path(folder) / "static").mkdir()  # requests are served here, files are not
        done = subprocess.run(
            command,
            # The load is one customer's key.
            env=environment(
                DATA_DIR=folder,
                LOG_LEVEL="ERROR",
                API_PER_MINUTE="1000000",
                API_PER_DAY="1000000",
            ),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return {name: (number, unit) for name, number, unit in json.loads(done.stdout)}


def main() -> None:
    results = {database: measured(command) for database, command in DATABASES.items()}
    first, second = results.values()
    print(f"{'':58}" + "".join(f"{name:>16}" for name in DATABASES) + f"{'ratio':>8}")
    for name, (number, unit) in first.items():
        other = second[name][0]
        print(f"{name:58}{number:>11.1f} {unit:4}{other:>11.1f} {unit:4}{other / number:>8.2f}")


if __name__ == "__main__":
    main()
