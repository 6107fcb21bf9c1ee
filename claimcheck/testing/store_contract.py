"""The contract of a claim store, as tests."""

from __future__ import annotations

from claimcheck.testing.contents_contract import ContentsContract
from claimcheck.testing.life_contract import LifeContract
from claimcheck.testing.records_contract import RecordsContract


class StoreContract(ContentsContract, RecordsContract, LifeContract):
    """The tests that every claim store must pass. A subclass runs them on a store of yours.

        class TestMyStore(StoreContract):
            @pytest.fixture
            def store(self, tmp_path: Path) -> Iterator[MyStore]:
                store = MyStore(tmp_path)
                yield store
                store.close()

    `store` is a fixture: a new, empty store for each test.

    `store_clock` is a fixture that you add if the store takes its clock from you: a
    `claimcheck.testing.Clock`, which the store calls for the time. Tests of leases that run out, of
    late deliveries and of receipts that are weeks old need it (they ask for `set_clock`), and are
    skipped without it. With it, times are compared exactly.

    `lose_part` is a method that you add if a part of contents can be gone while others are there.
    Tests of missing parts are skipped without it. A store whose `part_bytes` is None has no such
    parts, and skips these.

    `expiries_after_renewal` is a method that you override if the store's `renew` may do nothing,
    since contents live long enough from the beginning.
    """
