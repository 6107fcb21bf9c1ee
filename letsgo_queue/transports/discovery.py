"""Finds the queue of a LetsGo deployment as LetsGo does: by the prefix of its name, and its tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from letsgo_queue.aws_client import AwsError, error_code, explain
from letsgo_queue.deployment import DEPLOYMENT_TAG, Deployment
from letsgo_queue.errors import QueueNotFound
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports.sqs_client import (
    NO_SUCH_QUEUE,
    Session,
    asking,
    make_client,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


def find_queue(
    deployment: Deployment,
    *,
    region: str | None = None,
    session: Session | None = None,
    client: SQSClient | None = None,
) -> str:
    """The URL of the one queue of a LetsGo deployment.

    Args:
        deployment: Whose queue.
        region: Where to look; None for where AWS's own settings say.
        session: The boto3 session; by default one is made from the environment.
        client: A boto3 SQS client to use instead of a new one.

    Raises:
        QueueNotFound: There is not exactly one; the text lists what was found.
    """
    try:
        client = client or make_client(None, region, session)
        region = client.meta.region_name
        queues = tagged_queues(client, deployment.vendor_prefix)
    except AwsError as error:
        raise QueueNotFound(
            f"no queue is set, and looking for the queue of LetsGo deployment {deployment.name!r}"
            f"{f' in {region}' if region else ''} failed: {explain(error)}. Set LETSGO_QUEUE_URL, "
            "on a laptop to sqlite:///work.db."
        ) from error
    matching = [url for url, tag in queues.items() if tag == deployment.name]
    if len(matching) == 1:
        return matching[0]
    tag = f"{DEPLOYMENT_TAG}={deployment.name}"
    which = f"{deployment.vendor_prefix}-* queues in {region}"
    if matching:
        raise QueueNotFound(
            f"no queue is set, and {len(matching)} of the {which} have the tag {tag}: "
            f"{', '.join(matching)}. Set LETSGO_QUEUE_URL to one of them."
        )
    found = ", ".join(f"{url} ({DEPLOYMENT_TAG}={other})" for url, other in queues.items())
    raise QueueNotFound(
        f"no queue is set, and none of the {which} has the tag {tag}"
        f"{f' (found: {found})' if found else ''}. Set LETSGO_QUEUE_URL, LETSGO_DEPLOYMENT or "
        "AWS_REGION."
    )


def list_letsgo_queues(
    deployment: str | None = None,
    *,
    settings: QueueSettings | None = None,
    session: Session | None = None,
) -> Sequence[str]:
    """The URLs of the queues that LetsGo made in a region.

    Args:
        deployment: Only those of this deployment; there should be one.
        settings: The region and LetsGo's prefix; by default those of the environment.
        session: The boto3 session; by default one is made from the environment.

    Raises:
        QueueUnavailable: SQS refused, or did not answer.
    """
    settings = settings or QueueSettings.from_environment()
    with asking(f"{settings.vendor_prefix}-*", "LetsGo's queues could not be listed"):
        client = make_client(None, settings.region, session)
        queues = tagged_queues(client, settings.vendor_prefix)
    return [url for url, tag in queues.items() if deployment in {None, tag}]


def tagged_queues(client: SQSClient, vendor_prefix: str) -> Mapping[str, str]:
    """The queues that LetsGo made, by URL, with their deployment."""
    queues: dict[str, str] = {}
    pages = client.get_paginator("list_queues").paginate(QueueNamePrefix=f"{vendor_prefix}-")
    for page in pages:
        for url in page.get("QueueUrls", []):
            try:
                tags = client.list_queue_tags(QueueUrl=url).get("Tags", {})
            except ClientError as error:
                if error_code(error) in NO_SUCH_QUEUE:  # deleted since it was listed
                    continue
                raise
            if deployment := tags.get(DEPLOYMENT_TAG):
                queues[url] = deployment
    return queues
