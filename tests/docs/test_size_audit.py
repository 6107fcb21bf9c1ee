"""The page about the size audit, as a reader would follow it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest

from claimcheck.audit import AuditReport, AuditSettings, Prices, units_of
from tests.docs.support import ROOT, commands, install_commands, write_blocks
from tests.support.quick_python import quick_python

PAGE = "docs/how-to/size-audit.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert write_blocks(PAGE, tmp_path) == {"test_orders.py", "production.py"}
    install_commands(tmp_path / "bin")
    script = tmp_path / "bin" / "pytest"
    python = shlex.join(quick_python())
    script.write_text(f'#!/bin/sh\nexec {python} -m pytest -pclaimcheck.audit.pytest_plugin "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # only ours, which saves much time
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_table_is_what_is_printed(folder: Path) -> None:
    printed = shell("pytest --claimcheck-audit", folder)
    _, _, audit = printed.partition(" claimcheck size audit ")
    shown = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)[0]
    assert audit.partition("\n")[2].rpartition("=====")[0].rpartition("\n")[0] + "\n" == shown


def test_the_commands_work_in_the_order_of_the_page(folder: Path) -> None:
    (folder / "payloads").mkdir()
    (folder / "payloads" / "one.json").write_text("1")
    for command in commands(PAGE):
        shell(command, folder)
    assert (folder / "sizes.html").stat().st_size > 1000


def test_the_recorder_in_production(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETSGO_QUEUE_URL", "memory://")
    shell("python production.py", folder)
    (orders,) = AuditReport.load(folder / "production.json").types
    assert 50 < orders.messages < 160


def test_the_settings_are_taken(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n# pyproject.toml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "pyproject.toml"
    path.write_text("\n".join(blocks))
    settings = AuditSettings.from_pyproject(path)
    assert settings.limit == 1_048_576
    assert settings.budgets == {"order:new": 1_000_000, "user:*": 4_000}
    assert settings.prices.dynamodb_write == 0.705
    assert AuditSettings.model_fields.keys() == (
        tomllib.loads(path.read_text())["tool"]["claimcheck"]["audit"].keys()
    )


def test_the_line_about_a_budget_is_what_is_printed(folder: Path) -> None:
    (settings, *_) = re.findall(r"```toml\n# pyproject.toml\n(.*?)```", TEXT, re.DOTALL)
    (folder / "pyproject.toml").write_text(settings)
    shown = re.findall(r"```text\n(over budget: .*?)\n```", TEXT)
    done = subprocess.run(
        ["pytest", "--claimcheck-audit"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith("over budget")] == shown


def test_the_schema_is_that_of_the_report(folder: Path) -> None:
    schema = json.loads((ROOT / "docs/size-audit.schema.json").read_text(encoding="utf-8"))
    shell("pytest --claimcheck-audit-json sizes.json", folder)
    jsonschema.validate(json.loads((folder / "sizes.json").read_text(encoding="utf-8")), schema)
    told = (
        "Does a reader of the old one go wrong? Then it has a new version. Write the schema anew."
    )
    now = AuditReport.model_json_schema(mode="serialization")
    assert schema["properties"].keys() == now["properties"].keys(), told
    assert schema["$defs"].keys() == now["$defs"].keys(), told
    for name, definition in now["$defs"].items():
        fields = schema["$defs"][name].get("properties", {}).keys()
        assert fields == definition.get("properties", {}).keys(), told


def test_every_field_of_the_report_is_explained() -> None:
    _, _, table = TEXT.partition("| field | meaning |")
    explained = set(re.findall(r"`(?:types\[\]\.)?(\w+)(?:\[\])?`", table.partition("\n\n")[0]))
    schema = AuditReport.model_json_schema(mode="serialization")
    fields = {*schema["properties"], *schema["$defs"]["TypeReport"]["properties"]} - {"type"}
    assert fields <= explained


def test_what_is_said_of_the_price_of_storing() -> None:
    stored = units_of(300, stored_size=500_000)
    in_s3 = units_of(300, stored_size=500_000, place="bucket")
    expiring = units_of(300, stored_size=500_000, purge="never")
    assert Prices().dollars(stored) * 10**6 == pytest.approx(620, rel=0.02)
    assert Prices().dollars(in_s3) * 10**6 == pytest.approx(8, rel=0.1)
    assert Prices().dollars(expiring) * 10**6 == pytest.approx(380, rel=0.02)
