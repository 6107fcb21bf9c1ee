"""Sealing and opening take little memory beside the body, of any size. `make bench` has 200 MB."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from claimcheck.stores.dynamodb_table import ClaimTable
from claimcheck.stores.s3_contents import LARGEST_PUT
from tests.benchmarks.children import answer_of
from tests.benchmarks.emulator import environment
from tests.benchmarks.networks import SERVICES
from tests.support.servers import AwsServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


def test_a_large_body_that_does_not_compress_takes_no_second_copy_on_its_way_to_s3_and_half_back(
    ministack: AwsServer,
) -> None:
    noise = LARGEST_PUT + 1_000_000  # and so it goes in pieces
    store = f"dynamodb://{_make_table(ministack)}?bucket={ministack.make_bucket()}"

    took = answer_of(
        Path(sys.executable),
        "sealing_memory",
        {"noise": noise, "store": store},
        environment(dict.fromkeys(SERVICES, str(ministack.endpoint_url))),
    )

    assert took["seal"] < 1.0 * took["body"]
    assert took["open"] < 1.5 * took["body"]


def _make_table(ministack: AwsServer) -> str:
    name = ministack.make_table_name()
    ClaimTable(name, region=ministack.region, endpoint_url=ministack.endpoint_url).create()
    return name
