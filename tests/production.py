"""Runs a command as a production host would: `python -m tests.production manage.py check …`.

The secrets are made for this one run; nothing of the developer's own environment is needed.
"""

from __future__ import annotations

import secrets
import subprocess
import sys

from cryptography.fernet import Fernet

from tests import processes


def environment(**changes: str) -> dict[str, str]:
    """What a public host sets, after docs/operations.md, with these changes."""
    sound = {
        "PRODUCTION": "1",
        "DEBUG": "0",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "API_KEY_PEPPER": secrets.token_urlsafe(50),
        "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        "ALLOWED_HOSTS": "shop.example.com",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example.com",
    }
    return processes.environment(**(sound | changes))


if __name__ == "__main__":
    done = subprocess.run([sys.executable, *sys.argv[1:]], env=environment(), check=False)
    sys.exit(done.returncode)
