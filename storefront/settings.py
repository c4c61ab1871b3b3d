"""All settings, read from the environment; starts with nothing set.

Every variable is listed in `.env.example`. Dangerous combinations are refused by
`storefront/checks.py` (`manage.py check --deploy`).
"""

from pathlib import Path

import environ

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
env.read_env(BASE_DIR / ".env")

# --- where things live -------------------------------------------------------------------------
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / ".data"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
SANDBOX_PORT = env.int("SANDBOX_PORT", default=8100)
SANDBOX_KEY = env.str("SANDBOX_KEY", default="sandbox-demonstration-key")
SANDBOX_SPEED = env.float("SANDBOX_SPEED", default=30.0)  # sandbox seconds per real second
SANDBOX_SERVICES = env.int("SANDBOX_SERVICES", default=320)
WEB_WORKERS = env.int("WEB_WORKERS", default=2)
WEB_THREADS = env.int("WEB_THREADS", default=4)

# --- safety ------------------------------------------------------------------------------------
INSECURE_SECRET_KEY = "insecure-development-key-never-use-in-production"
INSECURE_ENCRYPTION_KEY = "aW5zZWN1cmUtZGV2ZWxvcG1lbnQta2V5LTAwMDAwMDA="
DEBUG = env.bool("DEBUG", default=False)
# PRODUCTION switches on what only a public host needs (https redirects, secure cookies) and
# makes demo data and built-in keys an error.
PRODUCTION = env.bool("PRODUCTION", default=False)
SECRET_KEY = env.str("SECRET_KEY", default=INSECURE_SECRET_KEY)
# Fernet keys, newest first: the first encrypts, all decrypt (rotation).
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[INSECURE_ENCRYPTION_KEY])
# Keys the digests of API keys; of its own, so that SECRET_KEY can be rotated.
API_KEY_PEPPER = env.str("API_KEY_PEPPER", default=INSECURE_SECRET_KEY)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
CSRF_FAILURE_VIEW = "storefront.pages.failures.csrf_failure"

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
LANGUAGE_COOKIE_SAMESITE = "Lax"
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = True
# Panel clients post JSON batches of at most 100 orders; nothing honest is larger.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

# --- the shop's own brand ----------------------------------------------------------------------
STORE_NAME = env.str("STORE_NAME", default="Pulse")
STORE_TAGLINE = env.str("STORE_TAGLINE", default="")
STORE_ACCENT = env.str("STORE_ACCENT", default="#4338ca")
STORE_LOGO = env.str(
    "STORE_LOGO", default=""
)  # a path below static/, or empty for the built-in mark
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="support@example.com")

# --- parts -------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django_htmx",
    "django_q",
    "lucide",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "catalog",
    "orders",
    "storefront",
]

MIDDLEWARE = [
    "storefront.middleware.ContentSecurityPolicy",
    "storefront.middleware.RejectNullBytes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "storefront.middleware.CustomerLocale",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "storefront.urls"
WSGI_APPLICATION = "storefront.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "storefront.context.shop",
            ],
        },
    }
]

# --- database ----------------------------------------------------------------------------------
DATABASES = {
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'store.sqlite3'}")
}
DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # With an orderly queue of writers (storefront/sqlite/base.py).
    DATABASES["default"]["ENGINE"] = "storefront.sqlite"
    # Writers take the lock at BEGIN, so a transaction never fails half-way for having read first;
    # FULL keeps an acknowledged order through a power cut.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
    }
else:
    # Nobody waits longer than this for a row that another holds, or for a server that is gone:
    # a request is answered with "try again", a job comes again.
    DATABASES["default"].setdefault("OPTIONS", {})
    DATABASES["default"]["OPTIONS"] |= {"connect_timeout": 3, "options": "-c lock_timeout=2500"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- cache: limits must hold across processes --------------------------------------------------
CACHES = {
    "default": {
        **env.cache_url("CACHE_URL", default="dbcache://shared_cache"),
        # Django's own 300 would throw limits away under load.
        "max_entries": 100_000,
    },
    # django-q2 writes its statistics twice a second; nobody needs them in the database.
    "worker": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "worker"},
}

# --- jobs --------------------------------------------------------------------------------------
# A job commits or rolls back with the money it is about (ORM broker). Each is a tick over a batch
# that is safe to run twice; django-q2's own defaults would repeat a failing one for ever.
Q_CLUSTER = {
    "name": "storefront",
    "orm": "default",
    "workers": env.int("WORKERS", default=4),
    "timeout": 240,
    "retry": 300,
    "max_attempts": 3,
    "ack_failures": True,
    "queue_limit": 1,
    "bulk": 1,
    "save_limit": 250,
    "catch_up": False,
    "poll": 0.5,
    "cache": "worker",
    "label": "Jobs",
}

# --- people ------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "new_order"
ACCOUNT_ADAPTER = "storefront.account_adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_EMAIL_VERIFICATION = env.str("EMAIL_VERIFICATION", default="optional")
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGOUT_REDIRECT_URL = "home"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"{STORE_NAME}: "
# How many proxies of our own stand in front: the client's address is the one that the outermost of
# them saw. 0: the connection's. Limits on sign-in are counted by it.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=0)
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if PRODUCTION else "http"
ACCOUNT_FORMS = {"signup": "storefront.forms.SignupForm"}
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = STORE_NAME
MFA_ADAPTER = "storefront.account_adapter.MfaAdapter"

EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"{STORE_NAME} <{SUPPORT_EMAIL}>")

# --- languages and time ------------------------------------------------------------------------
LANGUAGE_CODE = env.str("LANGUAGE_CODE", default="en")
LANGUAGES = [("fr", "Français"), ("tr", "Türkçe"), ("en", "English")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- files -------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "storefront.static_storage.HashedFiles"
    },
}
WHITENOISE_MANIFEST_STRICT = True

# --- money -------------------------------------------------------------------------------------
# Percent added to a provider's cost where neither service, category nor provider says otherwise.
DEFAULT_MARKUP_PERCENT = env.str("DEFAULT_MARKUP_PERCENT", default="30")

# --- orders ------------------------------------------------------------------------------------
# Staff are told of an order under way that shows no progress for this many hours.
STALLED_AFTER_HOURS = env.int("STALLED_AFTER_HOURS", default=24)

# --- APIs --------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["storefront.api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["storefront.api.rendering.ExactJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "storefront.api.parsing.ExactJSONParser",
        "storefront.api.parsing.Utf8FormParser",
        "storefront.api.parsing.Utf8MultiPartParser",
    ],
    "EXCEPTION_HANDLER": "storefront.api.rest.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": f"{STORE_NAME} API",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": ["storefront.api.rest.schema.without_slashes"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "storefront.api.openapi.document.complete",
    ],
    "ENUM_NAME_OVERRIDES": {
        "OrderStatusEnum": "orders.statuses.PUBLIC_STATUSES",
        "RefillStatusEnum": "orders.models.PublicRefillState",
        "DeliveryStatusEnum": "accounts.models.DeliveryState.values",
        "EventTypeEnum": "storefront.api.rest.webhook_serializers.EVENT_TYPES",
    },
}

# --- limits of the APIs ------------------------------------------------------------------------
# Requests of each key, where its customer has no limits of their own.
API_PER_MINUTE = env.int("API_PER_MINUTE", default=60)
API_PER_DAY = env.int("API_PER_DAY", default=10_000)

# --- webhooks ----------------------------------------------------------------------------------
# Plain http, and private networks, as targets: for development alone.
WEBHOOK_ALLOW_PRIVATE = env.bool("WEBHOOK_ALLOW_PRIVATE", default=not PRODUCTION)

# --- logs --------------------------------------------------------------------------------------
LOG_JSON = env.bool("LOG_JSON", default=PRODUCTION)
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING_CONFIG = "storefront.logs.configure"
LOGGING = {"json": LOG_JSON, "level": LOG_LEVEL}

# --- admin -------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": STORE_NAME,
    "SITE_HEADER": STORE_NAME,
    "SITE_SYMBOL": "storefront",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "storefront.admin.dashboard",
    "COLORS": "storefront.admin.colours",
    "STYLES": ["storefront.admin.stylesheet"],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "storefront.admin.favicon"}],
    "SIDEBAR": {
        "show_search": True,
        "navigation": "storefront.admin.navigation",
    },
}
