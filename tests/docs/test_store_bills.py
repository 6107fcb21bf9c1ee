"""docs/concepts/cost.md: its bills are those of the cost model."""

from __future__ import annotations

import re

import pytest

from claimcheck.core.cost import TICKET_BYTES, place_of, units_of
from claimcheck.core.prices import Prices
from claimcheck.stores import open_store
from tests.docs.support import ROOT

PAGE = (ROOT / "docs/concepts/cost.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| `((?:dynamodb|s3)://\S+)` \| .* \| \$([\d.,]+) \| \$([\d.,]+) \|$", PAGE, re.MULTILINE
)
STORED_BYTES = 1_000_000


def test_there_is_a_row_for_each_place() -> None:
    assert [place_of(url) for url, *_ in ROWS] == ["dynamodb", "bucket", "s3"]


@pytest.mark.parametrize(("url", "few", "many"), ROWS)
def test_a_bill_is_that_of_the_cost_model(url: str, few: str, many: str) -> None:
    one = Prices().dollars(units_of(TICKET_BYTES, stored_size=STORED_BYTES, place=place_of(url)))

    assert few == f"{one * 10_000:,.2f}"
    assert many == f"{one * 10_000_000:,.0f}"


@pytest.mark.parametrize("url", [url for url, *_ in ROWS])
def test_there_is_such_a_store(url: str) -> None:
    url = url.replace("TABLE", "claims").replace("BUCKET", "my-claims")
    assert open_store(url, region="us-west-2").url == url


def test_the_readme_says_the_same() -> None:
    dollars = {place_of(url): float(many.replace(",", "")) / 10 for url, _, many in ROWS}
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = (
        f"${dollars['bucket']:,.0f} a million with a bucket, and ${dollars['dynamodb']:,.0f} with"
    )
    assert told in readme
