"""Logs: readable lines in development, JSON in production, secrets masked in one place."""

from __future__ import annotations

import logging.config
import re
from typing import Any

import structlog

_SECRETS = re.compile(
    r"(sk_(?:test_)?[A-Za-z0-9]{4})[A-Za-z0-9]{8,}"
    r"|((?:[?&\s\"'{]|^)(?:key|api_key|token|secret|password)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',}]+",
    re.IGNORECASE,
)


def mask(text: str) -> str:
    """The text with API keys, passwords and tokens replaced by ***."""
    return _SECRETS.sub(lambda m: f"{m.group(1) or m.group(2)}***", text)


def _mask_event(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {name: mask(value) if isinstance(value, str) else value for name, value in event.items()}


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
        else structlog.dev.ConsoleRenderer(colors=False)
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
                # httpx2 logs each request's full address, which can hold a provider's key.
                "httpx2": {"level": "WARNING"},
                "httpcore2": {"level": "WARNING"},
            },
        }
    )
