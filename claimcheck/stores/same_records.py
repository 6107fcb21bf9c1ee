"""Stores whose records are the same, while contents may be in any of them.

`dynamodb://T` and `dynamodb://T?bucket=B` are such stores: both have their records in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from claimcheck.errors import ClaimCorrupted, ClaimStoreError
from claimcheck.stores.base import ClaimFacts, ClaimStore, Contents, Reading
from claimcheck.stores.forwarded import ForwardedRecords


class SameRecords(ForwardedRecords):
    """A claim store made of several: records in the first, contents in each."""

    def __init__(self, stores: Sequence[ClaimStore]) -> None:
        """Take stores of one label and one `records_at`."""
        super().__init__(stores[0])
        self._stores = stores
        self._first = stores[0]

    @property
    def url(self) -> str:
        """The URL of the first."""
        return self._first.url

    @property
    def label(self) -> str:
        """The label that all have."""
        return self._first.label

    @property
    def records_at(self) -> object:
        """Where all have their records."""
        return self._first.records_at

    @property
    def missing_advice(self) -> str:
        """The advice of the first."""
        return self._first.missing_advice

    @property
    def part_bytes(self) -> int | None:
        """The part size of the first, which new contents go to."""
        return self._first.part_bytes

    def write(self, facts: ClaimFacts, parts: Sequence[bytes | memoryview]) -> None:
        """Write contents to the first; see `ContentsStore.write`."""
        self._first.write(facts, parts)

    def read(self, claim_id: str, parts: int, *, stored: int, consistent: bool = False) -> Reading:
        """Begin to read contents, in one store after another; see `ContentsStore.read`."""
        return _ReadingEach(
            (store, store.read(claim_id, parts, stored=stored, consistent=consistent))
            for store in self._stores
        )

    def remove(
        self,
        claim_id: str,
        parts: int,
        *,
        later: bool = False,
        expiring_by: int | None = None,
    ) -> None:
        """Remove contents wherever they are; see `ContentsStore.remove`."""
        for store in self._stores:
            store.remove(claim_id, parts, later=later, expiring_by=expiring_by)

    def renew(self, claim_id: str, parts: int, *, expires_at: int) -> None:
        """Have contents expire later wherever they are; see `ContentsStore.renew`."""
        for store in self._stores:
            store.renew(claim_id, parts, expires_at=expires_at)

    def close(self) -> None:
        """Close all; see `ClaimStore.close`."""
        for store in self._stores:
            store.close()


class _ReadingEach:
    """Contents that are read in one store after another, until they are found whole."""

    def __init__(self, readings: Iterator[tuple[ClaimStore, Reading]]) -> None:
        self._readings = readings
        self._begun = [next(readings)]

    def result(self) -> Contents | None:
        """The first that are whole; else those that have parts; see `Reading.result`."""
        incomplete: Contents | None = None
        failure: ClaimStoreError | ClaimCorrupted | None = None
        while self._begun:
            store, reading = self._begun[-1]
            try:
                found = reading.result()
            except (ClaimStoreError, ClaimCorrupted) as error:
                # Another may have them. If none has, nobody can say that they are gone.
                failure = failure or error
            else:
                if found is not None:
                    found = replace(found, store=found.store or store)
                    if None not in found.parts:
                        return found
                    incomplete = incomplete or found
            following = next(self._readings, None)
            if following is None:
                break
            self._begun.append(following)
        if failure is not None:
            raise failure
        return incomplete

    def cancel(self) -> None:
        """See `Reading.cancel`."""
        for _, reading in self._begun:
            reading.cancel()
