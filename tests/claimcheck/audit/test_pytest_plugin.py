"""`pytest --claimcheck-audit` in a user's project, which knows nothing of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from claimcheck.audit import AuditSettings
from letsgo_queue import SettingsInvalid
from tests.claimcheck.audit.support import Project, make_project

EMPTY_ORDER = len('{"type":"order:new","payload":{"order_id":"42","lines":[]}}')
LINE = len('{"sku":"A-7","quantity":1},')

JSON = ("--claimcheck-audit-json", "audit.json")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    return make_project("shop", tmp_path)


def test_it_is_silent_unless_asked_for(shop: Project) -> None:
    run = shop.pytest(installed=True)

    assert run.exit_code == 0, run.output
    assert "audit" not in run.output


def test_the_table_has_a_row_for_each_type(shop: Project) -> None:
    run = shop.pytest("--claimcheck-audit", installed=True)

    assert run.exit_code == 0, run.output
    name, messages, median, p95, largest, bar, share, *counts = run.row("order:new")
    assert (name, messages, median) == ("order:new", "4", "112 B")  # the second of four
    assert (p95, largest, bar, share) == ("539.5 KB", "540.1 KB", "████████", "206%")
    inline, compressed, stored, not_sent, ratio, on_queue, dollars, with_s3 = counts
    assert (inline, compressed, stored, not_sent) == ("3", "1", "0", "0")
    assert float(ratio) > 500
    assert on_queue == "112 B"
    # Three requests for each message, however it is sent; one in four would be put into S3.
    assert (dollars, with_s3) == ("1.20", "2.55")

    assert run.row("report:export")[5:11] == ["████████", "1,144%", "0", "0", "1", "0"]
    assert run.row("metric")[1:7] == ["1", *["36 B"] * 3, "········", "0%"]
    # Refused, so nothing is said of the queue and the bill.
    assert run.row("catalog:import")[1:] == [
        *("0", "2.0 MB", "2.0 MB", "2.0 MB", "████████", "763%"),
        *("0", "0", "0", "1"),
    ]


def test_the_largest_message_of_each_type_has_the_test_that_sent_it(shop: Project) -> None:
    run = shop.pytest("--claimcheck-audit")

    _, _, largest = run.audit.partition("largest of its type")
    lines = [re.split(r"\s{2,}", line) for line in largest.splitlines()[1:6]]
    assert {name: test for name, _, test in lines} == {
        "order:new": "test_shop.py::test_large_order",
        "report:export": "test_shop.py::test_export",
        "catalog:import": "test_shop.py::test_catalog_is_refused",
        "user:welcome": "test_shop.py::test_welcome",
        "metric": "test_shop.py::MetricsTest::test_count",
    }


def test_the_json_report_has_every_message(shop: Project) -> None:
    run = shop.pytest(*JSON)

    assert run.exit_code == 0, run.output
    assert "JSON: audit.json" in run.output
    types = shop.report()
    assert {name: (each.messages, each.not_sent) for name, each in types.items()} == {
        "catalog:import": (0, 1),
        "metric": (1, 0),
        "order:new": (4, 0),
        "report:export": (1, 0),
        "user:welcome": (1, 0),
    }
    orders = types["order:new"]
    assert orders.routes == {"inline": 3, "compressed": 1}
    assert orders.size.smallest == EMPTY_ORDER + LINE - 1
    assert orders.size.largest == EMPTY_ORDER + 20_000 * LINE - 1
    assert orders.sent_size is not None
    assert orders.sent_size.largest < 1000
    assert orders.ratio is not None
    assert orders.ratio > 500
    assert types["report:export"].routes == {"stored": 1}
    # Attributes count towards the limit.
    welcome = '{"type":"user:welcome","payload":"Grüße"}'.encode()
    assert types["user:welcome"].size.largest == len(welcome) + len("lang" + "String" + "de")


def test_xdist_workers_are_added_up(shop: Project) -> None:
    alone = shop.pytest("--claimcheck-audit-json", "alone.json")
    together = shop.pytest("-n", "2", "--claimcheck-audit-json", "together.json")

    assert (alone.exit_code, together.exit_code) == (0, 0), together.output
    assert "incomplete" not in together.output

    def without_points(name: str) -> object:
        types = json.loads((shop.folder / name).read_text())["types"]
        return [{**each, "points": sorted(map(str, each.pop("points")))[:0]} for each in types]

    assert without_points("together.json") == without_points("alone.json")
    assert together.row("order:new") == alone.row("order:new")


def test_a_worker_that_dies_is_said_to_be_missing(shop: Project) -> None:
    shop.write("test_dies.py", "import os\n\ndef test_dies():\n    os._exit(1)\n")

    run = shop.pytest("-n", "2", "--claimcheck-audit")

    assert run.exit_code == 1
    assert "workers ended without a report" in run.audit


@pytest.mark.parametrize("without", ["cacheprovider", "terminal", "xdist", "anyio"])
def test_other_plugins_are_not_needed(shop: Project, without: str) -> None:
    run = shop.pytest("-p", f"no:{without}", "--deselect", "test_shop.py::test_welcome", *JSON)

    assert run.exit_code == 0, run.output
    assert shop.report()["order:new"].messages == 4


def test_no_messages(shop: Project) -> None:
    run = shop.pytest(*JSON, "--claimcheck-audit-html", "audit.html", "-k", "nothing_at_all")
    assert run.exit_code == pytest.ExitCode.NO_TESTS_COLLECTED

    shop.write("test_idle.py", "def test_idle():\n    pass\n")
    run = shop.pytest(*JSON, "--claimcheck-audit-html", "audit.html", "test_idle.py")

    assert run.exit_code == 0, run.output
    assert "no messages were weighed: none was sent through letsgo_queue or claimcheck" in run.audit
    assert shop.report() == {}
    assert (shop.folder / "audit.html").read_text().startswith("<!DOCTYPE html>")


def test_collecting_tests_weighs_nothing(shop: Project) -> None:
    run = shop.pytest("--claimcheck-audit", "--collect-only", "-q")

    assert run.exit_code == 0
    assert "size audit" not in run.output


def test_only_some_tests_are_weighed(shop: Project) -> None:
    shop.settings("[tool.claimcheck.audit]\ntests = ['*_order*', '*::MetricsTest::*']")

    run = shop.pytest(*JSON)

    assert run.exit_code == 0, run.output
    assert shop.report().keys() == {"order:new", "metric"}


def test_patterns_that_name_no_test_are_named(shop: Project) -> None:
    shop.settings("[tool.claimcheck.audit]\ntests = ['nowhere/*']")
    run = shop.pytest("--claimcheck-audit")
    assert "no test that `tests` names sent one (nowhere/*)" in run.audit


def test_a_terminal_that_has_ascii_only(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    run = shop.pytest("--claimcheck-audit")

    assert run.exit_code == 0, run.output
    assert "========    206%" in run.audit
    assert run.audit.isascii()


class TestWarnings:
    def test_what_is_near_the_limit_is_pointed_out(self, shop: Project) -> None:
        run = shop.pytest("--claimcheck-audit", "-k", "large_order or catalog")

        assert run.exit_code == 0
        assert (
            "over the limit: order:new: its largest message, in test_shop.py::test_large_order, "
            "has 540.1 KB, 206% of 262.1 KB; the claim check sends it compressed"
        ) in run.audit
        assert (
            "over the limit: catalog:import: its largest message, in "
            "test_shop.py::test_catalog_is_refused, has 2.0 MB, 763% of 262.1 KB; 1 message "
            "of this type not sent"
        ) in run.audit
        assert "; limit 262.1 KB (262,144 bytes, which every queue accepts); " in run.audit

    def test_limit_and_share_can_be_set(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit]\nlimit = '1 MiB'\nwarn_at = 0.52")
        run = shop.pytest("--claimcheck-audit", "-k", "large_order")
        assert "the limit:" not in run.audit

        text = (shop.folder / "pyproject.toml").read_text()
        shop.write("pyproject.toml", text.replace("0.52", "0.51"))
        run = shop.pytest("--claimcheck-audit", "-k", "large_order")
        assert "near the limit: order:new" in run.audit


class TestBudgets:
    def test_a_type_over_its_budget_fails_the_run(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit.budgets]\n'order:*' = '64 KB'\nmetric = 1000")

        run = shop.pytest("--claimcheck-audit")

        assert run.exit_code == 1
        assert (
            "over budget: order:new: its largest message, in test_shop.py::test_large_order, has "
            "540.1 KB (540,058 bytes); the budget of 'order:*' is 64.0 KB (64,000 bytes)"
        ) in run.audit
        assert run.audit.count("over budget") == 1
        assert "8 passed" in run.output

    def test_a_budget_of_its_own_goes_before_a_pattern(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit.budgets]\n'order:*' = 1\n'order:new' = '1 MB'")
        assert shop.pytest("--claimcheck-audit").exit_code == 0

    def test_a_budget_is_kept_to_the_byte(self, shop: Project) -> None:
        exact = EMPTY_ORDER + 20_000 * LINE - 1
        shop.settings(f"[tool.claimcheck.audit.budgets]\n'order:new' = {exact}")
        assert shop.pytest("--claimcheck-audit").exit_code == 0

        text = (shop.folder / "pyproject.toml").read_text()
        shop.write("pyproject.toml", text.replace(str(exact), str(exact - 1)))
        run = shop.pytest("--claimcheck-audit")
        assert run.exit_code == 1
        assert f"the budget is 540.1 KB ({exact - 1:,} bytes)" in run.audit

    @pytest.mark.long
    def test_across_workers(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit.budgets]\n'order:*' = '64 KB'")
        run = shop.pytest("--claimcheck-audit", "-n", "2")
        assert run.exit_code == 1
        assert "in test_shop.py::test_large_order" in run.audit

    def test_one_that_nothing_has_is_pointed_out(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit.budgets]\n'ordr:*' = '64 KB'")
        run = shop.pytest("--claimcheck-audit")
        assert run.exit_code == 0
        assert "the budget of 'ordr:*' matches no message type that was sent" in run.audit

    def test_the_settings_may_be_above_the_tests(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit.budgets]\n'order:*' = '64 KB'")
        below = shop.folder / "tests"
        below.mkdir()
        (below / "pytest.ini").write_text("[pytest]\npythonpath = ..\n")
        for name in ("conftest.py", "test_shop.py"):
            (shop.folder / name).rename(below / name)
        run = shop.pytest("--claimcheck-audit", "tests")
        assert run.exit_code == 1
        assert "over budget: order:new" in run.audit

    def test_without_the_audit_they_do_nothing(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit.budgets]\n'order:*' = '64 KB'")
        assert shop.pytest().exit_code == 0


class TestBaseline:
    BASELINE = ("--claimcheck-audit-baseline", "sizes/baseline.json")
    UPDATE = (*BASELINE, "--claimcheck-audit-update")

    def grow(self, shop: Project, lines: int) -> None:
        text = (shop.folder / "test_shop.py").read_text()
        shop.write("test_shop.py", text.replace("20_000", str(lines)))

    def test_what_has_not_grown_passes(self, shop: Project) -> None:
        assert "baseline written: sizes/baseline.json" in shop.pytest(*self.UPDATE).audit
        self.grow(shop, 21_990)  # by less than 10 %

        run = shop.pytest(*self.BASELINE)

        assert run.exit_code == 0, run.output
        assert "nothing has grown over sizes/baseline.json" in run.audit

    def test_growth_fails_the_run(self, shop: Project) -> None:
        shop.pytest(*self.UPDATE)
        self.grow(shop, 22_010)

        run = shop.pytest(*self.BASELINE)

        assert run.exit_code == 1
        assert (
            "grown: order:new: its largest message from 540.1 KB to 594.3 KB, by more than 10%; "
            "the largest was sent in test_shop.py::test_large_order"
        ) in run.audit

    def test_how_much_is_too_much_can_be_set(self, shop: Project) -> None:
        shop.settings("[tool.claimcheck.audit]\nmax_growth = 0.5")
        shop.pytest(*self.UPDATE)
        self.grow(shop, 29_900)
        assert shop.pytest(*self.BASELINE).exit_code == 0

    def test_types_that_come_and_go_are_no_growth(self, shop: Project) -> None:
        shop.pytest(*self.UPDATE, "-k", "order")
        assert shop.pytest(*self.BASELINE, "-k", "export").exit_code == 0

    def test_it_is_short_enough_for_a_repository(self, shop: Project) -> None:
        shop.pytest(*self.UPDATE)
        text = (shop.folder / "sizes/baseline.json").read_text()
        assert all(each["points"] == [] for each in json.loads(text)["types"])
        assert len(text) < 13_000

    def test_it_is_not_written_when_a_test_fails(self, shop: Project) -> None:
        shop.write("test_fails.py", "def test_fails():\n    assert False\n")

        run = shop.pytest(*self.UPDATE)

        assert run.exit_code == 1
        assert "was not written, because not every test passed" in run.audit
        assert not (shop.folder / "sizes").exists()

    def test_one_that_is_missing_is_an_error(self, shop: Project) -> None:
        run = shop.pytest(*self.BASELINE)
        assert run.exit_code == pytest.ExitCode.USAGE_ERROR
        assert "there is no such file. --claimcheck-audit-update makes it." in run.output

    def test_one_that_is_no_report_is_an_error(self, shop: Project) -> None:
        run = shop.pytest("--claimcheck-audit-baseline", "pyproject.toml")
        assert run.exit_code == pytest.ExitCode.USAGE_ERROR
        assert "pyproject.toml is no audit report of version 1" in run.output

    def test_updating_needs_a_file(self, shop: Project) -> None:
        run = shop.pytest("--claimcheck-audit-update")
        assert run.exit_code == pytest.ExitCode.USAGE_ERROR
        assert "say which file with --claimcheck-audit-baseline FILE" in run.output


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("limit = 'much'", "[tool.claimcheck.audit] limit: "),
        ("limit = true", "[tool.claimcheck.audit] limit: "),
        ("limit = 0", "[tool.claimcheck.audit] limit: "),
        ("limit = '-3 KB'", "[tool.claimcheck.audit] limit: '-3 KB' is no size"),
        ("warn_at = 1.5", "[tool.claimcheck.audit] warn_at: "),
        ("prices = {sqs_request = inf}", "[tool.claimcheck.audit.prices] sqs_request: "),
        ("warn_at = 80", "[tool.claimcheck.audit] warn_at: "),
        ("max_growth = -1", "[tool.claimcheck.audit] max_growth: "),
        (
            "budget = {}",
            "[tool.claimcheck.audit] budget: there is no such name; there are limit, threshold, ",
        ),
        ("budgets = {'order:*' = '64 KBs'}", "[tool.claimcheck.audit.budgets] order:*: "),
        ("prices = {as_of = 'now'}", "[tool.claimcheck.audit.prices] as_of: "),
        (
            "prices = {sqs = 1}",
            "[tool.claimcheck.audit.prices] sqs: there is no such name; there are region, as_of, ",
        ),
        ("limit = ", "Invalid value"),
    ],
)
def test_wrong_settings_are_errors_that_name_the_key(
    tmp_path: Path, settings: str, said: str
) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(f"[tool.claimcheck.audit]\n{settings}\n")

    with pytest.raises(SettingsInvalid) as raised:
        AuditSettings.from_pyproject(path)

    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "said"), [("limit = 0", "limit: "), ("limit = ", "Invalid value")]
)
def test_wrong_settings_are_wrong_usage(shop: Project, settings: str, said: str) -> None:
    shop.settings(f"[tool.claimcheck.audit]\n{settings}")

    run = shop.pytest("--claimcheck-audit")

    assert run.exit_code == pytest.ExitCode.USAGE_ERROR
    assert said in run.output
    assert "Traceback" not in run.output


def test_wrong_settings_do_not_trouble_those_who_ask_for_no_audit(shop: Project) -> None:
    shop.settings("[tool.claimcheck.audit]\nlimit = 0")

    assert shop.pytest("-k", "count").exit_code == 0


def test_a_report_that_cannot_be_written_fails_the_run(shop: Project) -> None:
    run = shop.pytest("--claimcheck-audit-json", "shop.py/audit.json", "-k", "count")

    assert run.exit_code == 1
    assert "shop.py/audit.json cannot be written" in run.audit
