"""What tests of your own stand on: the contract of a claim store, as a class for pytest.

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path: Path) -> MyStore:
            return MyStore(tmp_path)

Needs pytest; nothing else in the package imports this module.
"""

from claimcheck.testing.clock import Clock
from claimcheck.testing.store_contract import StoreContract

__all__ = ["Clock", "StoreContract"]
