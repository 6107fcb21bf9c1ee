"""The doctor's findings, and how it carries out a check.

A check gives findings. An error that ends it is a finding too, so that one check does not stop the
others. A right that we lack gives a warning, since the answer stays unknown. An error of AWS or of
ours gives a failure.
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
"""For clients of the doctor, so that it waits only seconds for a service that does not answer."""


class Level(StrEnum):
    """How bad it is."""

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a check of one thing.

    Attributes:
        name: The name of the thing, the same in every run: `queue.retention`.
        level: How bad it is.
        detail: The finding, in words.
        advice: The remedy, in words.
        command: The command that mends it, if there is one.
    """

    name: str
    level: Level
    detail: str
    advice: str = ""
    command: str = ""


Check: TypeAlias = Callable[[], Iterable[Finding]]


def passed(name: str, detail: str) -> Finding:
    """Make a finding that says: all is well."""
    return Finding(name=name, level=Level.PASS, detail=detail)


def warning(name: str, detail: str, *, advice: str = "", command: str = "") -> Finding:
    """Make a finding that says: it works, but not always or not well; or its state is unknown."""
    return Finding(name=name, level=Level.WARN, detail=detail, advice=advice, command=command)


def failure(name: str, detail: str, *, advice: str = "", command: str = "") -> Finding:
    """Make a finding that says: it does not work, or messages will be lost."""
    return Finding(name=name, level=Level.FAIL, detail=detail, advice=advice, command=command)


def carry_out(name: str, check: Check, *, service: str) -> Iterator[Finding]:
    """Carry out a check, and yield its findings.

    Args:
        name: The name of the finding if the check ends in an error.
        check: The check.
        service: IAM's name of the service that the check asks.
    """
    try:
        yield from check()
    except AwsError as error:
        yield unanswered(name, error, service)
    except LetsGoError as error:
        yield failure(name, str(error))
    except Exception as error:  # a defect in one check must not stop the others
        logger.debug("the check of %s broke off", name, exc_info=True)
        yield warning(name, f"not known: the check broke off with {type(error).__name__}")


def unanswered(name: str, error: Exception, service: str) -> Finding:
    """Make a finding of an error of AWS.

    Args:
        name: The name of the finding.
        error: One of `AwsError`.
        service: IAM's name of the service.
    """
    assert isinstance(error, AwsError)
    if isinstance(error, ClientError) and (action := denied_action(error, service)):
        return warning(
            name,
            f"not known: {action} is denied",
            advice="`claimcheck iam --as operator` prints a policy with the rights of the doctor",
        )
    return failure(name, explain(error))
