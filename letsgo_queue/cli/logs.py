"""Configures the command's log, unless the application does: to stderr, as text or JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from enum import StrEnum

from letsgo_queue.log import get_logger
from letsgo_queue.text import printable

TEXT_FORMAT = "%(asctime)s %(levelname)s %(message)s"

LIBRARIES = {
    # They log every setting that they find.
    "botocore": logging.WARNING,
    "pynamodb": logging.WARNING,
    # It logs the traceback of an error that it also raises, and that we report.
    "botocore.credentials": logging.CRITICAL,
}
"""The level from which on these libraries log, unless the application sets one."""

_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
"""The attributes that every record has; all others were given in `extra`."""


class LogFormat(StrEnum):
    """How the lines of the log look."""

    TEXT = "text"
    JSON = "json"


def configure_logging(given: LogFormat | None) -> None:
    """Log to stderr, from INFO on. If the root logger has handlers already, add none.

    Call it once the application is imported.

    Args:
        given: The format that the user asks for; None for text.
    """
    root = logging.getLogger()
    if root.handlers:
        if given is not None:
            get_logger(__name__).warning(
                "the application configures logging, so --log-format %s changes nothing", given
            )
        return
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if given is LogFormat.JSON else TextFormatter(TEXT_FORMAT))
    root.addHandler(handler)
    if root.level == logging.WARNING:  # Python's default
        root.setLevel(logging.INFO)
    for name, level in LIBRARIES.items():
        library = logging.getLogger(name)
        if library.level == logging.NOTSET:
            library.setLevel(level)


class TextFormatter(logging.Formatter):
    """Writes a record as text, and indents all its lines but the first: those of a traceback, say.

    So nothing that a record quotes can begin a line of the log, or control a terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        first, *more = super().format(record).split("\n")
        return "\n".join([printable(first), *(f"    {printable(line)}" for line in more)])


class JsonFormatter(logging.Formatter):
    """Writes a JSON object per line, in ASCII: time, level, logger, message, fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)
