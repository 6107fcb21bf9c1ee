"""`claimcheck audit`, as a user runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import pytest

from claimcheck.audit import AuditReport, AuditSettings, SizeAudit
from letsgo_queue import Client
from tests.support.command import run, run_on_terminal

NOISE = Random(7).randbytes(400_000).hex()


@pytest.fixture(autouse=True)
def utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")


def save(path: Path, sizes: dict[str, int], **settings: object) -> Path:
    """Save the report of an audit of one message for each type."""
    audit = SizeAudit(AuditSettings.model_validate(settings), label=lambda: "a test")
    client = Client("memory://")
    client.add_listener(audit)
    for message_type, size in sizes.items():
        client.enqueue({"type": message_type, "payload": "x" * size})
    audit.report().save(path)
    return path


class TestSavedReport:
    def test_is_printed(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", {"order:new": 100_000, "ping": 1})

        done = run("claimcheck", "audit", "a.json", cwd=tmp_path)

        assert (done.returncode, done.stderr) == (0, "")
        order, ping = done.stdout.splitlines()[1:3]
        assert order.split()[:4] == ["order:new", "1", "100.0", "KB"]
        assert "███·····     38%" in order
        assert ping.startswith("ping ")
        (largest,) = [line for line in done.stdout.splitlines() if line.endswith("a test")][:1]
        assert largest.split() == ["order:new", "100.0", "KB", "a", "test"]

    def test_is_rendered(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", {"order:new": 100_000})

        done = run(
            "claimcheck",
            "audit",
            "a.json",
            "--html",
            "out/a.html",
            "--json",
            "b.json",
            cwd=tmp_path,
        )

        assert done.returncode == 0, done.stderr
        assert "order:new" in (tmp_path / "out/a.html").read_text(encoding="utf-8")
        assert AuditReport.load(tmp_path / "b.json") == AuditReport.load(tmp_path / "a.json")

    def test_over_budget_is_exit_code_1(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", {"order:new": 100_000}, budgets={"order:*": "64 KB"})

        done = run("claimcheck", "audit", "a.json", cwd=tmp_path)

        assert done.returncode == 1
        assert "over budget: order:new: its largest message, in a test, has" in done.stdout

    def test_control_characters_in_a_type_do_not_reach_the_terminal(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", {"evil\x1b[2J[red]": 1})
        done = run("claimcheck", "audit", "a.json", cwd=tmp_path)
        assert "\x1b" not in done.stdout
        assert r"evil\x1b[2J[red]" in done.stdout

    def test_it_is_printed_in_utf8_whatever_the_locale(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save(tmp_path / "a.json", {"café": 1})
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")

        done = run("claimcheck", "audit", "a.json", cwd=tmp_path)

        assert done.returncode == 0, done.stderr
        assert "café" in done.stdout

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "a.json: No such file or directory."),
            ("{}", "a.json is no audit report of version 1 (created_at: Field required)"),
            ("nonsense", "a.json is no audit report of version 1 (the document: Invalid JSON"),
        ],
    )
    def test_what_is_no_report_is_an_error(
        self, tmp_path: Path, content: str | None, said: str
    ) -> None:
        if content is not None:
            (tmp_path / "a.json").write_text(content)
        done = run("claimcheck", "audit", "a.json", cwd=tmp_path)
        assert done.returncode == 1
        assert f"error: {said}" in done.stderr


class TestComparison:
    def test_shows_what_has_changed(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", {"order:new": 1000, "same": 10, "old": 1})
        save(tmp_path / "b.json", {"order:new": 1030, "same": 10, "new": 1})

        done = run("claimcheck", "audit", "a.json", "b.json", cwd=tmp_path)

        assert done.returncode == 0, done.stderr
        rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
        assert rows["order:new"].count("+2.9%") == 2
        assert rows["old"].endswith("gone")
        assert rows["new"].endswith("new")
        assert "%" not in rows["same"]

    def test_the_median_alone_may_grow(self, tmp_path: Path) -> None:
        for name, small in (("a.json", 1000), ("b.json", 1500)):
            audit = SizeAudit()
            client = Client("memory://")
            client.add_listener(audit)
            for size in (small, small, 5000):
                client.enqueue({"type": "order:new", "payload": "x" * size})
            audit.report().save(tmp_path / name)

        done = run("claimcheck", "audit", "a.json", "b.json", cwd=tmp_path)

        assert done.returncode == 1
        assert "grown: order:new: its median from 1.0 KB to 1.5 KB, by more than" in done.stdout

    def test_other_messages_beside_it_make_no_median_grow(self, tmp_path: Path) -> None:
        save(tmp_path / "b.json", {"order:new": 1000})
        audit = SizeAudit()
        client = Client("memory://")
        client.add_listener(audit)
        for size in (1, 1, 1000):
            client.enqueue({"type": "order:new", "payload": "x" * size})
        audit.report().save(tmp_path / "a.json")

        done = run("claimcheck", "audit", "a.json", "b.json", cwd=tmp_path)

        assert done.returncode == 0, done.stdout
        assert "nothing has grown by more than 10%" in done.stdout

    def test_growth_is_exit_code_1(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", {"order:new": 1000})
        save(tmp_path / "b.json", {"order:new": 1500})

        done = run("claimcheck", "audit", "a.json", "b.json", cwd=tmp_path)
        assert done.returncode == 1
        assert "grown: order:new" in done.stdout
        assert run("claimcheck", "audit", "b.json", "a.json", cwd=tmp_path).returncode == 0


class TestFiles:
    def test_a_folder_is_weighed(self, tmp_path: Path) -> None:
        payloads = tmp_path / "payloads"
        (payloads / "report").mkdir(parents=True)
        (payloads / "plain.json").write_text('{"a": 1}')
        message = {"type": "order:new", "payload": {"a": "ü"}}
        (payloads / "order.json").write_text(json.dumps(message, indent=4))
        (payloads / "report/large.json").write_text(json.dumps(NOISE))
        (payloads / "report/small.json").write_text("1")
        (payloads / "notes.txt").write_text("no JSON")

        done = run(
            "claimcheck", "audit", "--from-files", "payloads", "--json", "a.json", cwd=tmp_path
        )

        assert (done.returncode, done.stderr) == (0, "")
        found = {each.type: each for each in AuditReport.load(tmp_path / "a.json").types}
        assert found.keys() == {"payloads", "order:new", "report"}
        # As it would be sent: compact, and in UTF-8.
        as_sent = '{"type":"order:new","payload":{"a":"ü"}}'.encode()
        assert found["order:new"].size.largest == len(as_sent)
        assert found["report"].routes == {"inline": 1, "stored": 1}
        assert found["report"].largest_in == "report/large.json"

    def test_a_terminal_has_a_progress_bar_and_colours(self, tmp_path: Path) -> None:
        for number in range(3):
            (tmp_path / f"{number}.json").write_text(json.dumps(NOISE[:250_000]))

        code, shown = run_on_terminal("claimcheck", "audit", "--from-files", ".", cwd=tmp_path)

        assert code == 0
        assert "3/3" in shown
        assert "\x1b[33mnear the limit: " in shown

    def test_the_limit_decides_what_is_stored(self, tmp_path: Path) -> None:
        (tmp_path / "payloads").mkdir()
        (tmp_path / "payloads/noise.json").write_text(json.dumps(NOISE))
        (tmp_path / "pyproject.toml").write_text("[tool.claimcheck.audit]\nlimit = '1 MiB'\n")
        run("claimcheck", "audit", "--from-files", "payloads", "--json", "a.json", cwd=tmp_path)
        assert AuditReport.load(tmp_path / "a.json").types[0].routes == {"compressed": 1}

    def test_what_cannot_be_weighed_is_named_and_the_rest_weighed(self, tmp_path: Path) -> None:
        (tmp_path / "good.json").write_text("1")
        (tmp_path / "bad.json").write_text('{"secret": ')
        (tmp_path / "reserved.json").write_text('{"type": "letsgo:x", "payload": 1}')

        done = run("claimcheck", "audit", "--from-files", ".", cwd=tmp_path)

        assert done.returncode == 1
        assert "left out: bad.json: not JSON" in done.stderr
        assert "left out: reserved.json: message type 'letsgo:x'" in done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert done.stdout.splitlines()[1].split()[:2] == [tmp_path.name, "1"]

    def test_the_claim_check_is_that_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.json").write_text(json.dumps(NOISE[:5000]))
        monkeypatch.setenv("CLAIMCHECK_THRESHOLD", "1000")
        monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "500000")
        done = run("claimcheck", "audit", "--from-files", ".", "--json", "out", cwd=tmp_path)
        report = AuditReport.load(tmp_path / "out")
        assert report.types[0].routes == {"compressed": 1}
        assert report.settings.threshold == 1000
        assert report.settings.limit == 500_000
        assert "; limit 500.0 KB; " in done.stdout

        monkeypatch.setenv("CLAIMCHECK_INLINE_LIMIT", "1000")
        run("claimcheck", "audit", "--from-files", ".", "--json", "out", cwd=tmp_path)
        assert AuditReport.load(tmp_path / "out").types[0].routes == {"stored": 1}

    def test_a_file_name_with_escape_codes(self, tmp_path: Path) -> None:
        folder = tmp_path / "sent" / "evil\x1b[2J\n\u202e"
        folder.mkdir(parents=True)
        (folder / "a.json").write_text("1")
        (folder / "b.json").write_text("no JSON")

        done = run("claimcheck", "audit", "--from-files", "sent", cwd=tmp_path)

        assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
        assert r"sent/evil\x1b[2J\n\u202e/b.json: not JSON" in done.stderr
        assert r"evil\x1b[2J\n\u202e/a.json" in done.stdout

    def test_a_file_name_that_is_not_utf8(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"\xff.json")
        (tmp_path / name).write_text('{"type": "order:new"}')
        done = run("claimcheck", "audit", "--from-files", ".", "--json", "out", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (report,) = AuditReport.load(tmp_path / "out").types
        assert (report.type, report.largest_in) == ("order:new", r"\udcff.json")

    def test_over_max_size_is_not_sent(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CLAIMCHECK_MAX_SIZE", "1000")
        (tmp_path / "a.json").write_text(json.dumps("x" * 2000))
        run("claimcheck", "audit", "--from-files", ".", "--json", "out", cwd=tmp_path)
        (report,) = AuditReport.load(tmp_path / "out").types
        assert (report.messages, report.not_sent) == (0, 1)

    @pytest.mark.parametrize(
        ("folder", "said"),
        [("nowhere", "nowhere is no folder: "), (".", ". holds no *.json files.")],
    )
    def test_nothing_to_weigh_is_an_error(self, tmp_path: Path, folder: str, said: str) -> None:
        done = run("claimcheck", "audit", "--from-files", folder, cwd=tmp_path)
        assert done.returncode == 1
        assert f"error: {said}" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.json", "a.json", "a.json"),
        ("a.json", "a.json", "--html", "x.html"),
        ("a.json", "--from-files", "."),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    save(tmp_path / "a.json", {"ping": 1})
    done = run("claimcheck", "audit", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "give one saved report" in done.stderr
