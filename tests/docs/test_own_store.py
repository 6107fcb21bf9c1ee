"""docs/how-to/own-store.md: the store of the page passes the contract, and carries messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.support import ROOT, Reader, commands, write_blocks

PAGE = "docs/how-to/own-store.md"
REMOVE_EXPIRED, PROVE = commands(PAGE)
REGISTERED = re.compile(r'```toml\n\[project\.entry-points\."(.*)"\]\n(.*)\n```')


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    names = write_blocks(PAGE, tmp_path)
    assert names == {"folder_store.py", "test_folder_store.py", "use_folder_store.py"}
    return Reader(
        tmp_path,
        CLAIMS=str(tmp_path / "claims"),
        LETSGO_QUEUE_URL="sqlite:///work.db?max_message_bytes=262144",
    )


def test_it_passes_the_contract(reader: Reader) -> None:
    said = reader.type(f"python -m {PROVE} -q -p no:cacheprovider")

    passed = int(said.split(" passed")[0].split()[-1])
    assert passed > 50
    assert "failed" not in said


def test_a_fault_in_it_is_found(reader: Reader) -> None:
    path = reader.folder / "folder_store.py"
    condition = "if self.get_record(key, failed=failed) != found:"
    right = path.read_text()
    assert right.count(condition) == 1
    path.write_text(right.replace(condition, "if False:"))

    said = reader.type(f"python -m {PROVE} -q -x -p no:cacheprovider", code=1)

    assert "1 failed" in said


def test_messages_go_through_it_and_expire(reader: Reader) -> None:
    said = reader.type("python use_folder_store.py")
    claims = reader.folder / "claims"
    assert said.splitlines() == ["stored", "a photo of 5888890 characters"]
    left = {path.name for path in claims.iterdir()}
    assert len(left) == 2  # the receipt, and the lock

    (claims / "expired").touch()
    reader.type(REMOVE_EXPIRED)

    assert {path.name for path in claims.iterdir()} == left


def test_settings_name_it(reader: Reader) -> None:
    info = reader.folder / "folder_store-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-store\nVersion: 1\n")
    ((group, entry),) = REGISTERED.findall((ROOT / PAGE).read_text())
    (info / "entry_points.txt").write_text(f"[{group}]\n" + entry.replace('"', ""))
    (reader.folder / "claims").mkdir()
    reader.settings["CLAIMCHECK_STORE"] = f"folder://{reader.folder}/claims"
    reader.settings["PYTHONPATH"] = str(reader.folder)
    (reader.folder / "send.py").write_text(
        "import claimcheck\n"
        "payload = ''.join(map(str, range(1_000_000)))\n"
        "print(claimcheck.enqueue({'type': 'photo:new', 'payload': payload}).route)\n"
    )

    assert reader.type("python send.py") == "stored\n"
    assert len(list((reader.folder / "claims").iterdir())) == 1
