"""Checks credentials, region, and the clock of this machine.

STS answers everybody who has credentials, without further rights. Its answer also tells the time,
even if it refuses.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from claimcheck.doctor.findings import QUICK, Finding, failure, passed, warning
from claimcheck.stores.clock import WARN_OFFSET_SECONDS
from letsgo_queue.aws_client import STS, AwsError, explain, make_client, time_of
from letsgo_queue.deployment import DEFAULT_REGION, setting

REFUSED_OFFSET_SECONDS = 300
"""AWS refuses a request whose signature is older than this, or as far in the future:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html"""

_SET_CLOCK = "sudo timedatectl set-ntp true"


def check_account(region: str, *, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Find out whose credentials these are, and how far this machine's clock is off.

    Args:
        region: The region whose STS is asked.
        clock: This machine's clock: seconds since 1970.
    """
    sent = clock()
    try:
        client = make_client(STS, None, region=region, endpoint_url=None, config=QUICK)
        try:
            answer = cast("Mapping[str, Any]", client.get_caller_identity())
        finally:
            client.close()
        yield passed("credentials", f"{answer['Arn']}, in account {answer['Account']}")
    except (HTTPClientError, BotocoreConnectionError) as error:  # STS alone may be out of reach
        yield warning("credentials", f"not known: {explain(error)}")
        return
    except ClientError as error:
        yield failure("credentials", explain(error), advice="check AWS_PROFILE, or the keys")
        answer = cast("Mapping[str, Any]", error.response)
    except AwsError as error:
        yield failure("credentials", explain(error))
        return
    yield _compare_clocks(time_of(answer), sent=sent, received=clock())


def caller_in(region: str) -> str:
    """Return the ARN of the user or role that has these credentials."""
    client = make_client(STS, None, region=region, endpoint_url=None, config=QUICK)
    try:
        return client.get_caller_identity()["Arn"]
    finally:
        client.close()


def check_region(region: str | None) -> Iterator[Finding]:
    """Check that we and boto3 send requests to the same region.

    Args:
        region: The region in the queue's URL or in `AWS_REGION`; None if neither has one.
    """
    ours, boto3s = (setting(os.environ, name) for name in ("AWS_REGION", "AWS_DEFAULT_REGION"))
    if ours and boto3s and ours != boto3s:
        yield warning(
            "region",
            f"AWS_REGION is {ours}, and AWS_DEFAULT_REGION, which boto3 reads, is {boto3s}",
            command=f"export AWS_DEFAULT_REGION={ours}",
        )
    elif region is None and boto3s is None:
        yield warning(
            "region",
            f"none is set: {DEFAULT_REGION} is assumed, unless a profile says another",
            command=f"export AWS_REGION={DEFAULT_REGION}",
        )
    else:
        yield passed("region", region or boto3s or DEFAULT_REGION)


def _compare_clocks(second: float | None, *, sent: float, received: float) -> Finding:
    """Compare our clock with the server's, which was in `second` between `sent` and `received`."""
    if second is None:
        return warning("clock", "not known: the answer of AWS has no time")
    behind, ahead = second - received, sent - (second + 1)
    offset = max(behind, ahead, 0.0)
    said = f"{offset:.0f} s {'behind' if behind > ahead else 'ahead of'} AWS's"
    if offset >= REFUSED_OFFSET_SECONDS:
        return failure("clock", f"{said}: AWS refuses its requests", command=_SET_CLOCK)
    if offset > WARN_OFFSET_SECONDS:
        return warning("clock", said, command=_SET_CLOCK)
    return passed("clock", "as AWS's")
