"""How gunicorn serves the store: `gunicorn -c python:storefront.serving storefront.wsgi`.

Used by `manage.py run` and by a deployment alike.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "storefront.settings")

from django.conf import settings  # it needs the line above


class MaskedLogger(Logger):
    """gunicorn's own lines, which can hold a request's address with a key in it, go the way of
    all others: through storefront/logs.py."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


bind = f"{settings.HOST}:{settings.PORT}"
workers = settings.WEB_WORKERS
worker_class = "gthread"
threads = settings.WEB_THREADS
# Loaded once and forked: a worker that died is back in milliseconds.
preload_app = True
# A request waits for our own database only; 30 s is a fault. What runs may end in 10 s.
timeout = 30
graceful_timeout = 10
keepalive = 5
logger_class = MaskedLogger
loglevel = "warning"
# Addresses hold panel keys: who wants an access log writes it in front, with the query left out.
accesslog = None
control_socket_disable = True
# The workers' heartbeat files, where no disk can make them late.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
