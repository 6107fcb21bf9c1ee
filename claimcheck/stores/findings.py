"""Findings of `claimcheck store` about a table or a bucket, and the changes that mend them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from botocore.exceptions import ClientError

from letsgo_queue.aws_client import error_code

_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AuthorizationError",
    "UnauthorizedOperation",
}

_ACTIONS = {
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
}
"""Names of operations that IAM names differently."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that mends a finding.

    Attributes:
        what: What it does, as a command: "block public access to bucket claims".
        make: Does it.
    """

    what: str
    make: Callable[[], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        subject: The thing that was looked at.
        ok: Whether it is as it should be.
        detail: What was found.
        remedy: What to do if it is not.
        change: What `claimcheck store create` can do about it, once somebody agrees.
        known: Whether AWS let us look at all.
    """

    subject: str
    ok: bool
    detail: str
    remedy: str = ""
    change: Change | None = field(default=None, compare=False)
    known: bool = True


class Resource(Protocol):
    """A table or a bucket."""

    @property
    def title(self) -> str:
        """Names it for people: `table claims in us-west-2`."""
        ...

    def create(self) -> bool:
        """Make it as claims need it, if it is not there. What is there stays as it is.

        Returns:
            Whether it was made.
        """
        ...

    def check(self) -> Sequence[Finding]:
        """Compare it with what claims need; nothing is changed."""
        ...


def look(subject: str, service: str, resource: str, ask: Callable[[], Finding]) -> Finding:
    """Ask, or find that we may not; see `denied`."""
    try:
        return ask()
    except ClientError as error:
        return denied(error, subject, service, resource)


def denied(error: ClientError, subject: str, service: str, resource: str) -> Finding:
    """Make a finding of a refusal.

    Args:
        error: The refusal.
        subject: What was looked at.
        service: What IAM calls the service: `s3`.
        resource: What was asked.

    Raises:
        ClientError: AWS refused for another reason than a missing right: the same error.
    """
    action = denied_action(error, service)
    if action is None:
        raise error
    return Finding(
        subject,
        ok=False,
        detail=f"not known: {action} is denied",
        remedy=(
            f"allow {action} on {resource}. `claimcheck iam --as operator` prints a policy with "
            "all that these commands need"
        ),
        known=False,
    )


def denied_action(error: ClientError, service: str) -> str | None:
    """Return IAM's name of the right that we lack; None if AWS refused for another reason.

    Args:
        error: The refusal.
        service: What IAM calls the service: `s3`.
    """
    if error_code(error) not in _DENIED:
        return None
    return f"{service}:{_ACTIONS.get(error.operation_name, error.operation_name)}"
