"""What GitHub reads, read as strictly here: a mistake in it would only show after a push."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(
    set((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) - {GITHUB / "ISSUE_TEMPLATE/config.yml"}
)

SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "vendor.github-issue-forms": FORMS,
    "vendor.github-issue-config": [GITHUB / "ISSUE_TEMPLATE/config.yml"],
    "vendor.dependabot": [GITHUB / "dependabot.yml"],
}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path)
    return found


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every job, as `release.yml: publish`."""
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.name}: {name}", job


def steps() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, job in jobs():
        for step in job.get("steps", ()):
            yield name, job, step


@pytest.mark.parametrize("schema", SCHEMAS)
def test_each_is_as_github_wants_it(schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    done = subprocess.run([*command, *SCHEMAS[schema]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_auditor_of_workflows_finds_nothing() -> None:
    zizmor = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [zizmor, "--offline", "--no-progress", GITHUB], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_workflow_may_read_the_code_and_one_job_may_publish() -> None:
    assert {path.name: read(path)["permissions"] for path in WORKFLOWS} == {
        path.name: {"contents": "read"} for path in WORKFLOWS
    }
    assert {name: job["permissions"] for name, job in jobs() if "permissions" in job} == {
        "release.yml: publish": {"id-token": "write"},
        "release.yml: announce": {"contents": "write"},
    }


def test_what_publishes_runs_no_code_of_the_repository() -> None:
    (publish,) = (job for name, job in jobs() if name == "release.yml: publish")
    assert [step["uses"].split("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert set(publish["needs"]) == {"test", "lint", "docs", "build"}
    assert publish["environment"] == "pypi"


def test_actions_have_a_major_tag_and_code_is_read_without_keeping_the_token() -> None:
    used = [step for _, _, step in steps() if "uses" in step]
    assert used
    for step in used:
        assert re.fullmatch(r"(actions/[a-z-]+@v\d+)|(pypa/[a-z-]+@release/v1)", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}


def test_workflows_only_call_make_which_knows_the_target() -> None:
    called = []
    for name, job, step in steps():
        command = step.get("run", "make help")
        if command.startswith(("sudo apt-get ", "gh release ")):
            continue
        assert command.startswith("make "), f"{name}: {command}"
        pythons = job.get("strategy", {}).get("matrix", {}).get("python", [""])
        called += [command.replace("${{ matrix.python }}", python) for python in pythons]
    for command in sorted(set(called)):
        done = subprocess.run(
            ["sh", "-c", command.replace("make ", "make --dry-run ", 1)],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": "v0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert {"make pytest-3.12", "make pytest-lowest", "make lint types imports"} <= set(called)


def test_each_python_that_we_name_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [
        match[1]
        for each in project["classifiers"]
        if (match := re.fullmatch(r".* :: Python :: (3\.\d+)", each))
    ]
    (tested,) = (job for name, job in jobs() if name == "test.yml: pytest")
    assert tested["strategy"]["matrix"]["python"] == named
    (built,) = (step["run"] for name, _, step in steps() if "release-check" in step.get("run", ""))
    assert f'ARGS="{" ".join(named)}"' in built
