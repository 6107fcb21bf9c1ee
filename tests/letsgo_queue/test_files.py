"""How much is read of a file, and who may read what this library writes."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from letsgo_queue import files
from letsgo_queue.files import (
    exists,
    make_private_file,
    make_private_folder,
    read_file,
    read_stream,
    why_unsafe,
)


@pytest.fixture(autouse=True)
def everybody_may_read_by_default() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "payload.json"
    path.write_bytes(b"\xfe" * size)

    assert read_file(path) == b"\xfe" * size


def test_a_device_without_an_end_is_an_error() -> None:
    with pytest.raises(OSError, match="more than 268,435,456 bytes"):
        read_file(Path("/dev/zero"))


def test_so_is_a_file_with_more_bytes_than_memory_has(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(6_000_000_000)

    with pytest.raises(OSError, match="more than 268,435,456 bytes"):
        read_file(path)


def test_the_limit_itself_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2 * 1024 * 1024)

    assert len(read_stream(io.BytesIO(bytes(2 * 1024 * 1024)))) == 2 * 1024 * 1024
    with pytest.raises(OSError, match="more than 2,097,152 bytes"):
        read_stream(io.BytesIO(bytes(2 * 1024 * 1024 + 1)))


def test_a_path_that_no_file_can_have_has_none() -> None:
    assert not exists(Path("x" * 5_000))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
class TestPermissions:
    def test_a_file_is_made_for_its_user_alone(self, tmp_path: Path) -> None:
        make_private_file(tmp_path / "claims.db")

        assert mode_of(tmp_path / "claims.db") == 0o600

    def test_so_is_one_that_a_link_names(self, tmp_path: Path) -> None:
        (tmp_path / "link.db").symlink_to(tmp_path / "claims.db")

        make_private_file(tmp_path / "link.db")

        assert mode_of(tmp_path / "claims.db") == 0o600

    def test_a_file_that_is_there_stays_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "claims.db"
        path.write_text("mine")
        path.chmod(0o640)

        make_private_file(path)

        assert (path.read_text(), mode_of(path)) == ("mine", 0o640)

    def test_where_none_can_be_made_whoever_opens_it_says_so(self, tmp_path: Path) -> None:
        make_private_file(tmp_path / "missing" / "claims.db")

    def test_folders_are_made_for_their_user_alone(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)

        make_private_folder(tmp_path / "a" / "b")

        assert [mode_of(tmp_path), mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [
            0o755,
            0o700,
            0o700,
        ]

    @pytest.mark.parametrize(
        ("mode", "why"),
        [
            (0o700, None),
            (0o755, None),
            (0o770, "can be written by other users"),
            (0o702, "can be written by other users"),
        ],
    )
    def test_who_else_can_write(self, tmp_path: Path, mode: int, why: str | None) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state").chmod(mode)
        (tmp_path / "link").symlink_to(tmp_path / "state")

        assert [why_unsafe(tmp_path / "state"), why_unsafe(tmp_path / "link")] == [why, why]

    def test_what_is_not_there_is_nobodys(self, tmp_path: Path) -> None:
        assert why_unsafe(tmp_path / "none") is None

    def test_what_another_user_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "state").mkdir(0o700)
        (tmp_path / "dangling").symlink_to(tmp_path / "none")
        me = os.getuid()
        monkeypatch.setattr("letsgo_queue.files.os", SimpleNamespace(getuid=lambda: me + 1))

        assert why_unsafe(tmp_path / "state") == "belongs to another user"
        assert why_unsafe(tmp_path / "dangling") == "is a link that another user made"
