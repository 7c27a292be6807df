"""The log: lines of JSON for machines, readable ones in a terminal."""

import functools
import logging
import sys
from typing import Any, TextIO

import structlog

from rcommerce.settings.schema import Logging


def configure(settings: Logging) -> None:
    """Sends every log line to standard error, in the format of the settings."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    is_text = settings.format == "Text" or (settings.format is None and sys.stderr.isatty())
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    # Without the values of local variables: among them are passwords and tokens.
    trace: structlog.typing.Processor = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    if is_text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        trace = structlog.processors.StackInfoRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            trace,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line in one piece
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")


def audit(**about: object) -> None:
    """A line for the books: who did what to a shop, whatever `logging.level` is."""
    _books(sys.stderr).info("audit", **about)


@functools.cache
def _books(file: TextIO) -> Any:
    return structlog.wrap_logger(
        structlog.WriteLogger(file), wrapper_class=structlog.make_filtering_bound_logger(0)
    )
