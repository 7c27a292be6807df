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
    # Without the values of local variables, which contain passwords and tokens.
    trace: structlog.typing.Processor = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    if is_text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        trace = structlog.processors.StackInfoRenderer()
    first: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    structlog.configure(
        processors=[*first, trace, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),  # a line in one piece
        cache_logger_on_first_use=True,
    )
    # Libraries' log messages, in the same format.
    theirs = logging.StreamHandler(sys.stderr)
    theirs.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                trace,
                renderer,
            ],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[theirs], force=True)


def audit(**about: object) -> None:
    """Writes an audit log line: who did what to a shop, whatever `logging.level` is."""
    _books(sys.stderr).info("audit", **about)


@functools.cache
def _books(file: TextIO) -> Any:
    return structlog.wrap_logger(
        structlog.WriteLogger(file), wrapper_class=structlog.make_filtering_bound_logger(0)
    )
