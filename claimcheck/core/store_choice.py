"""Chooses among several stores: where to store a message, and where to look for its claim.

A sender stores a message where its type, or a function of the caller's, says; else in the main
store.

A reader picks one of its stores by the label in the ticket. The label is never an address: if no
store has it, the reader looks in the main store, and the claim is missing. A store that finds
contents has the records of their claim too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from claimcheck.errors import SettingsInvalid
from claimcheck.stores import check_store, open_store
from claimcheck.stores.base import ClaimStore, url_of_label
from claimcheck.stores.same_records import SameRecords
from letsgo_queue.forking import cached_property


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageToStore:
    """A message that is about to be stored.

    Attributes:
        type: Its type; None if it has none.
        size: Bytes of its body.
        stored: Bytes that the store is to keep: the body, compressed.
    """

    type: str | None
    size: int
    stored: int


ChooseStore: TypeAlias = Callable[[MessageToStore], ClaimStore | str | None]
"""Chooses the store of a message: a store or its URL; None for the main store."""


class Stores:
    """The stores of a claim check. Safe to share between threads."""

    def __init__(
        self,
        main: ClaimStore,
        *,
        by_message: Mapping[str, ClaimStore | str] | ChooseStore | None = None,
        read_from: Iterable[ClaimStore | str] = (),
    ) -> None:
        """Open the stores that are given by their URL; nothing is asked yet.

        Args:
            main: Where messages go by default, and the records of messages without a claim.
            by_message: Patterns of types, of which the first that fits counts; or a function, whose
                stores must be in `read_from`.
            read_from: More stores to look for claims in.

        Raises:
            SettingsInvalid: A URL names no store, or a value is not a store.
        """
        self.main = main
        self._opened: dict[str, ClaimStore] = {}
        self._choose: ChooseStore | None = None
        given = [check_store(main), *map(self._open, _listed(read_from))]
        if isinstance(by_message, Mapping):
            by_type = {pattern: self._open(store) for pattern, store in by_message.items()}
            given += by_type.values()
            self._choose = lambda message: next(
                (s for pattern, s in by_type.items() if fnmatchcase(message.type or "", pattern)),
                None,
            )
        elif by_message is not None:
            if not callable(by_message):
                raise SettingsInvalid(
                    f"stores is of type {type(by_message).__name__}: give a mapping of types to "
                    "stores, or a function."
                )
            self._choose = by_message
        self.all = tuple({id(store): store for store in given}.values())

    def for_message(self, message: MessageToStore) -> ClaimStore:
        """The store that a message goes to.

        Raises:
            SettingsInvalid: The function chose a store that was not given, so no reader would find
                the claim. Or two stores have one label and different records.
        """
        if len(self.all) > 1:
            self._refuse_namesakes()
        chosen = None if self._choose is None else self._choose(message)
        if chosen is None:
            return self.main
        if isinstance(chosen, str):
            chosen = self._opened.get(chosen, chosen)
        for store in self.all:
            if store is chosen or store.url == chosen:
                return store
        raise SettingsInvalid(
            f"message of type {message.type!r}: the store that was chosen for it, "
            f"{_shown(chosen)}, is none of those that this claim check was given. Name it in "
            "read_stores too, so that its claims are found again."
        )

    def with_label(self, label: str) -> ClaimStore:
        """The store to look in for the claim of a ticket with this label.

        Raises:
            SettingsInvalid: Two stores have one label, and different records.
        """
        if len(self.all) == 1:
            return self.main  # without asking it for its label
        return self._by_label.get(label, self.main)

    def has(self, label: str) -> bool:
        """Whether one of them has this label."""
        return label in self._by_label

    @property
    def names(self) -> list[str]:
        """Their URLs, for errors."""
        return [url_of_label(label) for label in self._by_label]

    def close(self) -> None:
        """Close all; see `ClaimStore.close`."""
        for store in self.all:
            store.close()

    @cached_property
    def _by_label(self) -> Mapping[str, ClaimStore]:
        found: dict[str, list[ClaimStore]] = {}
        for store in self.all:
            found.setdefault(store.label, []).append(store)
        return {label: _joined(label, stores) for label, stores in found.items()}

    def _refuse_namesakes(self) -> None:
        """Ask all for their labels, as a reader does."""
        _ = self._by_label

    def _open(self, store: ClaimStore | str) -> ClaimStore:
        if isinstance(store, str):
            if store not in self._opened:
                self._opened[store] = open_store(store)
            return self._opened[store]
        return check_store(store)


def _joined(label: str, stores: Sequence[ClaimStore]) -> ClaimStore:
    """One store for all of a label.

    Raises:
        SettingsInvalid: Their records differ. A reader would look into records that know nothing of
            the claim, and could handle it twice.
    """
    first, *others = stores
    if any(other.records_at != first.records_at for other in others):
        raise SettingsInvalid(
            f"{len(stores)} stores of this claim check have one name, {url_of_label(label)}, and "
            "different records: a ticket cannot tell them apart. Give those that are the same "
            "table, bucket or file the same boto3 session and endpoint_url. Give others, as in two "
            "accounts, different names, or a claim check each."
        )
    return SameRecords(stores) if others else first


def _listed(stores: Iterable[ClaimStore | str]) -> Iterable[ClaimStore | str]:
    if isinstance(stores, str) or not isinstance(stores, Iterable):
        raise SettingsInvalid(
            f"read_stores is of type {type(stores).__name__}: give a list of stores."
        )
    return stores


def _shown(chosen: object) -> str:
    return repr(chosen) if isinstance(chosen, str) else f"a {type(chosen).__name__}"
