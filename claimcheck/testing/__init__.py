"""Contracts of a claim store, as classes for pytest: derive the tests of your own store from them.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path: Path) -> MyStore:
            return MyStore(tmp_path)

`InventoryContract` is for a store that lists its claims. Needs pytest; nothing else in the package
imports this module.
"""

from claimcheck.testing.clock import Clock
from claimcheck.testing.inventory_contract import InventoryContract
from claimcheck.testing.store_contract import StoreContract

__all__ = ["Clock", "InventoryContract", "StoreContract"]
