"""Tells which hosts and regions are AWS's own, by botocore's list of AWS's partitions.

    aws         us-east-1         sqs.us-east-1.amazonaws.com, us-east-1.queue.amazonaws.com
    aws-eusc    eusc-de-east-1    sqs.eusc-de-east-1.amazonaws.eu
    aws-iso     us-iso-east-1     sqs.us-iso-east-1.c2s.ic.gov

A new partition comes with a new botocore. The file is read without loading botocore, which a Lambda
function that gets small messages only never needs.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_ACCOUNT = re.compile(r"\d{1,12}", re.ASCII)
_QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}(\.fifo)?")
_ARN_PARTS = 6

_OLDEST_HOST = "queue.amazonaws.com"
_OLDEST_REGION = "us-east-1"
"""SQS's first region, whose URLs once named none."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of AWS with regions and hosts of its own.

    Attributes:
        id: `aws`, `aws-cn`, ...
        suffix: The end of its hosts' names.
        suffixes: The suffix, and the suffix of hosts that also have IPv6.
        region: Matches the names of its regions.
    """

    id: str
    suffix: str
    suffixes: Sequence[str]
    region: re.Pattern[str]


def is_aws_host(host: str) -> bool:
    """Whether a host is AWS's own, in any partition."""
    return next(_inside(host), None) is not None


def region_of_host(host: str) -> str | None:
    """Return the region in the name of an AWS host; None if it has none, or is not AWS's."""
    if host == _OLDEST_HOST:
        return _OLDEST_REGION
    for partition, labels in _inside(host):
        for label in reversed(labels):
            if partition.region.fullmatch(label):
                return label
    return None


def is_sqs_endpoint(host: str) -> bool:
    """Whether boto3 by itself sends requests to this host, which is in a queue's URL."""
    region = region_of_host(host)
    return host == _OLDEST_HOST or host in {
        name
        for partition, _ in _inside(host)
        for name in (f"sqs.{region}.{partition.suffix}", f"{region}.queue.{partition.suffix}")
    }


def queue_url_of_arn(arn: str) -> str | None:
    """Return the URL of the queue that an ARN names; None if it is not the ARN of an SQS queue.

    An ARN may come from anybody, and the host in the URL gets requests with credentials. So every
    part of it is checked.
    """
    parts = arn.split(":")
    if len(parts) != _ARN_PARTS:
        return None
    prefix, partition_id, service, region, account, name = parts
    partition = next((each for each in _partitions() if each.id == partition_id), None)
    if (
        (prefix, service) != ("arn", "sqs")
        or partition is None
        or not partition.region.fullmatch(region)
        or not _ACCOUNT.fullmatch(account)
        or not _QUEUE_NAME.fullmatch(name)
    ):
        return None
    return f"https://sqs.{region}.{partition.suffix}/{account}/{name}"


def partition_of(region: str) -> str:
    """Return the id of a region's partition; `aws` for the regions of other servers."""
    found = (each.id for each in _partitions() if each.region.fullmatch(region))
    return next(found, "aws")


def _inside(host: str) -> Iterator[tuple[Partition, Sequence[str]]]:
    """Yield the partitions that a host may be in, each with the labels before its suffix."""
    for partition in _partitions():
        for suffix in partition.suffixes:
            if host == suffix:
                yield partition, ()
            elif host.endswith(f".{suffix}"):
                yield partition, host.removesuffix(f".{suffix}").split(".")


@functools.cache
def _partitions() -> Sequence[Partition]:
    found = find_spec("botocore")
    assert found is not None
    assert found.origin is not None
    data = json.loads(Path(found.origin).with_name("data").joinpath("partitions.json").read_bytes())
    return [
        Partition(
            id=each["id"],
            suffix=each["outputs"]["dnsSuffix"],
            suffixes=[each["outputs"]["dnsSuffix"], each["outputs"]["dualStackDnsSuffix"]],
            # Otherwise Python's \w and \d match letters and digits of every script.
            region=re.compile(each["regionRegex"], re.ASCII),
        )
        for each in data["partitions"]
    ]
