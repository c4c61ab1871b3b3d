"""A management command of the store on a machine whose clock is wrong.

`python -m tests.faults.matrix.shifted +3600 qcluster`: an hour ahead; or at an ISO moment.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime

import time_machine


def main() -> None:
    moment, *words = sys.argv[1:]
    there = (
        time.time() + int(moment)
        if moment[0] in "+-"
        else datetime.fromisoformat(moment).timestamp()
    )
    time_machine.travel(there, tick=True).start()

    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *words])


if __name__ == "__main__":
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")
    main()
