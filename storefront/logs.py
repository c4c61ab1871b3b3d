"""Logs: readable lines in development, JSON in production, secrets masked in one place.

Every line of every process goes through `mask`: the website's, the worker's, gunicorn's own (see
serving.py) and those of libraries. A secret is known by its shape (our API keys, webhooks'
secrets, passwords in addresses) or by the name that it stands behind.
"""

from __future__ import annotations

import logging.config
import re
from collections.abc import Mapping
from typing import Any

import structlog

_NAMES = r"[\w-]*(?:key|token|secret|password|passwd|pepper|authorization|cookie)"
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
_SECRETS = re.compile(
    r"(?P<ours>sk_(?:test_)?[A-Za-z0-9]{4})[A-Za-z0-9]{8,}"
    r"|(?P<webhook>whsec_)[A-Za-z0-9+/=]{8,}"
    # key=…, "api_key": "…", "key": ["…", Authorization: Bearer …
    rf"|(?P<name>(?<![\w-]){_NAMES}[\"']?\s*[=:]\s*\[?\s*[\"']?)"
    r"(?:(?<=\")[^\"]+|(?<=')[^']+|(?:bearer\s+)?[^&\s\"',}]+)"
    r"|(?P<scheme>\bbearer\s+)[^\s\"',}]+"
    # postgres://user:password@host
    r"|(?P<user>://[^:/\s@]*:)[^@\s/]+(?=@)",
    re.IGNORECASE,
)
HIDDEN = "***"


def mask(text: str) -> str:
    """The text with API keys, passwords and tokens replaced by ***."""
    return _SECRETS.sub(lambda found: f"{found[found.lastgroup or 0]}{HIDDEN}", text)


def _masked(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _masked_as(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    if isinstance(value, BaseException):
        return mask(f"{type(value).__name__}: {value}")
    return mask(str(value))


def _masked_as(name: str, value: Any) -> Any:
    return HIDDEN if value and _SECRET_NAME.fullmatch(name) else _masked(value)


def _mask_event(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    # Names with an underscore in front are structlog's own and do not reach the output.
    return {
        name: value if name.startswith("_") else _masked_as(name, value)
        for name, value in event.items()
    }


def configure(config: dict[str, Any]) -> None:
    """Set up logging (`settings.LOGGING_CONFIG`); `config` is `settings.LOGGING`."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_event,
    ]
    renderer = (
        structlog.processors.JSONRenderer()
        if config["json"]
        else structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "shop": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        renderer,
                    ],
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "shop"}},
            "root": {"handlers": ["console"], "level": config["level"]},
            "loggers": {
                # A line for each request, and several for each tick of the worker, tell nothing.
                "httpx2": {"level": "WARNING"},
                "httpcore2": {"level": "WARNING"},
                "django-q": {"level": "WARNING"},
                # Any scanner can ask for a host that is not ours; the refusal is enough.
                "django.security.DisallowedHost": {"level": "CRITICAL"},
            },
        }
    )
