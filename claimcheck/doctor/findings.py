"""What the doctor finds, and how a check is carried out.

A check gives findings. Whatever keeps it from an answer is a finding as well, so no check hides the
others: a right that we lack is a warning, as nobody knows how things are; an error of AWS or of
ours is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from botocore.config import Config
from botocore.exceptions import ClientError

from claimcheck.stores.findings import denied_action
from letsgo_queue.aws_client import AwsError, explain
from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

QUICK = Config(
    connect_timeout=3,
    read_timeout=5,
    retries={"mode": "standard", "total_max_attempts": 2},
)
"""For clients of the doctor: a service that does not answer costs seconds."""


class Level(StrEnum):
    """How bad it is."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at, the same in every run: `queue.retention`.
        level: How bad it is.
        detail: What was found.
        advice: What to do about it, in words.
        command: The command that mends it, where there is one.
    """

    name: str
    level: Level
    detail: str
    advice: str = ""
    command: str = ""


Check: TypeAlias = Callable[[], Iterable[Finding]]


def passed(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name=name, level=Level.PASS, detail=detail)


def warning(name: str, detail: str, *, advice: str = "", command: str = "") -> Finding:
    """It works, but not always, or not well; or nobody knows."""
    return Finding(name=name, level=Level.WARN, detail=detail, advice=advice, command=command)


def failure(name: str, detail: str, *, advice: str = "", command: str = "") -> Finding:
    """It does not work, or messages will be lost."""
    return Finding(name=name, level=Level.FAIL, detail=detail, advice=advice, command=command)


def carry_out(name: str, check: Check, *, service: str) -> Iterator[Finding]:
    """The findings of a check.

    Args:
        name: What an error of the check is a finding about.
        check: The check.
        service: What IAM calls the service that it asks.
    """
    try:
        yield from check()
    except AwsError as error:
        yield unanswered(name, error, service)
    except LetsGoError as error:
        yield failure(name, str(error))
    except Exception as error:  # whatever one check meets, the others are worth having
        logger.debug("the check of %s broke off", name, exc_info=True)
        yield warning(name, f"not known: the check broke off with {type(error).__name__}")


def unanswered(name: str, error: Exception, service: str) -> Finding:
    """What to make of an error of AWS.

    Args:
        name: What was looked at.
        error: One of `AwsError`.
        service: What IAM calls the service.
    """
    assert isinstance(error, AwsError)
    if isinstance(error, ClientError) and (action := denied_action(error, service)):
        return warning(
            name,
            f"not known: {action} is denied",
            advice="`claimcheck iam --as operator` prints a policy with the rights of the doctor",
        )
    return failure(name, explain(error))
