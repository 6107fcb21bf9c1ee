"""Hosts and regions of AWS, in every partition that botocore knows."""

from __future__ import annotations

import boto3
import pytest

from letsgo_queue.aws_hosts import (
    is_aws_host,
    is_sqs_endpoint,
    queue_url_of_arn,
    region_of_host,
)

REGIONS = [
    ("aws", "us-east-1", "sqs.us-east-1.amazonaws.com"),
    ("aws", "il-central-1", "sqs.il-central-1.amazonaws.com"),
    ("aws-cn", "cn-north-1", "sqs.cn-north-1.amazonaws.com.cn"),
    ("aws-us-gov", "us-gov-west-1", "sqs.us-gov-west-1.amazonaws.com"),
    ("aws-iso", "us-iso-east-1", "sqs.us-iso-east-1.c2s.ic.gov"),
    ("aws-iso-b", "us-isob-east-1", "sqs.us-isob-east-1.sc2s.sgov.gov"),
    ("aws-eusc", "eusc-de-east-1", "sqs.eusc-de-east-1.amazonaws.eu"),
]


@pytest.mark.parametrize(("partition", "region", "host"), REGIONS)
def test_a_host_says_its_region_and_an_arn_its_host(partition: str, region: str, host: str) -> None:
    arn = f"arn:{partition}:sqs:{region}:123456789012:orders.fifo"

    assert region_of_host(host) == region
    assert is_sqs_endpoint(host)
    assert is_aws_host(host)
    assert queue_url_of_arn(arn) == f"https://{host}/123456789012/orders.fifo"


@pytest.mark.parametrize(("partition", "region", "host"), REGIONS)
def test_boto3_sends_requests_there(
    partition: str, region: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    client = boto3.session.Session().client("sqs", region)

    assert client.meta.endpoint_url == f"https://{host}"
    assert client.meta.partition == partition
    client.close()


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("queue.amazonaws.com", "us-east-1"),
        ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
        ("sqs-fips.us-west-2.amazonaws.com", "us-west-2"),
        ("sqs.eu-west-3.api.aws", "eu-west-3"),
        ("vpce-0ab-1cd.sqs.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("vpce-0ab-us-east-1a.sqs.us-east-1.vpce.amazonaws.com", "us-east-1"),
        # A host of somebody else's says nothing, whatever it looks like.
        ("sqs.us-prod-2.example.com", None),
        ("sqs.us-east-1.localhost.localstack.cloud", None),
        ("sqs.us-east-1.amazonaws.com.example.com", None),
        ("sqs.us-east-1.notamazonaws.com", None),
        ("amazonaws.com", None),
        ("sqs.us-east-\uff11.amazonaws.com", None),  # a digit, but not of ASCII
        ("localhost", None),
        ("", None),
    ],
)
def test_a_region_is_taken_from_hosts_of_aws_only(host: str, region: str | None) -> None:
    assert region_of_host(host) == region


@pytest.mark.parametrize(
    "host",
    [
        "sqs-fips.us-west-2.amazonaws.com",
        "sqs.eu-west-3.api.aws",
        "vpce-0ab-1cd.sqs.eu-central-1.vpce.amazonaws.com",
        "sqs.us-east-1.example.com",
        "localhost",
    ],
)
def test_other_hosts_get_the_requests_themselves(host: str) -> None:
    assert not is_sqs_endpoint(host)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:sqs:evil.example/x:1:q",
        "arn:aws:sqs:us-east-1.evil.example:123456789012:q",
        "arn:aws:sqs:us-east-1:123456789012@evil.example:q",
        "arn:aws:sqs:us-east-1:123456789012:q/../../x",
        "arn:aws:sqs:us-east-1:123456789012:q\n",
        "arn:aws:sqs:us-east-1:123456789012:",
        "arn:aws:sqs::123456789012:q",
        "arn:aws-moon:sqs:us-east-1:123456789012:q",
        "arn:aws-cn:sqs:us-east-1:123456789012:q",
        "arn:aws:sns:us-east-1:123456789012:q",
        "arn:aws:sqs:us-east-1:123456789012:q:more",
        "http://localhost:3002",
        "sqlite:///tmp/x.db",
        "memory://",
        "letsgo:local:me",
        "",
    ],
)
def test_what_is_no_arn_of_sqs_names_no_queue(arn: str) -> None:
    assert queue_url_of_arn(arn) is None
