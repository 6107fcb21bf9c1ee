"""Reads pieces of bytes as one file, so that a client sends them without a copy of the whole."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


class PiecesFile(io.RawIOBase):
    """Pieces of bytes, as a file that is read."""

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Take the pieces, none of them empty, in order."""
        super().__init__()
        self._pieces = [memoryview(piece) for piece in pieces]
        *self._starts, self._size = accumulate(map(len, pieces), initial=0)
        self._at = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read again."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Have the next read begin elsewhere."""
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes, of one piece: perhaps fewer than asked for, and none only at the end."""
        if size is None or size < 0:
            return self.readall()
        if self._at >= self._size:
            return b""
        number = bisect_right(self._starts, self._at) - 1
        start = self._at - self._starts[number]
        data = bytes(self._pieces[number][start : start + size])
        self._at += len(data)
        return data
