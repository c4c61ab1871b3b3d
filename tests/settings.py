"""The product's settings, with quick passwords and files of its own."""

import os
import tempfile

os.environ.setdefault("DATA_DIR", tempfile.mkdtemp(prefix="storefront-test-"))
os.environ.setdefault("CACHE_URL", "locmemcache://tests")
os.environ["EMAIL_URL"] = "memorymail://"

from storefront.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
