"""What both commands do."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.command import Command, run

both = pytest.mark.parametrize("command", ["claimcheck", "letsgo-queue"])


@both
def test_version(command: Command, tmp_path: Path) -> None:
    asked = run(command, "--version", cwd=tmp_path)

    assert asked.returncode == 0
    assert asked.stdout == f"letsgo-claimcheck {version('letsgo-claimcheck')}\n"


@both
@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_the_command_says_what_to_install(
    command: Command, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules['{missing}'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    asked = run(command, "--help", cwd=tmp_path)

    assert asked.returncode == 1
    assert asked.stderr == (
        f"the command line needs {missing}: pip install 'letsgo-claimcheck[cli]'\n"
    )


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("letsgo-queue", "queue status"),
        ("letsgo-queue", "queue create letsgo-jobs"),
        ("claimcheck", "store check"),
        ("claimcheck", "demo --aws"),
    ],
)
@pytest.mark.parametrize(
    "settings",
    [
        {"AWS_PROFILE": "no-such-profile"},
        {"AWS_ENDPOINT_URL": "no URL"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},  # and no credentials
    ],
)
def test_settings_of_aws_that_cannot_be_used_are_one_line(
    command: Command,
    arguments: str,
    settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"AWS_REGION": "eu-west-1", **settings}.items():
        monkeypatch.setenv(name, value)

    tried = run(command, *arguments.split(), cwd=tmp_path)

    assert (tried.returncode, tried.stdout) == (1, "")
    assert tried.stderr.startswith("error: ")
    assert tried.stderr.count("\n") == 1
    told = [*settings.values(), "credentials"]
    assert any(each in tried.stderr for each in told)
