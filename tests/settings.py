"""The product's settings, with quick passwords and files of their own."""

import atexit
import os
import shutil
import tempfile

if "DATA_DIR" not in os.environ:
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="storefront-test-")
    atexit.register(shutil.rmtree, os.environ["DATA_DIR"], ignore_errors=True)
os.environ.setdefault("CACHE_URL", "locmemcache://tests")
os.environ["EMAIL_URL"] = "memorymail://"

from storefront.settings import *  # noqa: F403
from storefront.settings import DATA_DIR, DATABASES, STATIC_ROOT

STATIC_ROOT.mkdir(exist_ok=True)  # a missing one is a warning, and warnings are errors
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if DATABASES["default"]["ENGINE"] == "storefront.sqlite":
    # A file, as in the product: threads would share one connection's locks in a memory database.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
    # What must survive a power cut there need not here.
    DATABASES["default"]["OPTIONS"]["init_command"] = (
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA foreign_keys=ON"
    )
# Tests that drive a front with hundreds of requests are about something else than its limits.
API_PER_MINUTE = API_PER_DAY = 1_000_000
