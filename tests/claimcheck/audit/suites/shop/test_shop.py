from __future__ import annotations

import unittest

import pytest
import shop

import letsgo_queue


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_small_order(lines: int) -> None:
    shop.place_order("42", lines)


def test_large_order() -> None:
    shop.place_order("43", 20_000)


def test_export() -> None:
    shop.export_report(3_000_000)


def test_catalog_is_refused() -> None:
    with pytest.raises(letsgo_queue.MessageTooLarge):
        shop.import_catalog(2_000_000)


@pytest.mark.anyio
async def test_welcome() -> None:
    await shop.welcome("Grüße")


class MetricsTest(unittest.TestCase):
    def test_count(self) -> None:
        shop.count("visits")
