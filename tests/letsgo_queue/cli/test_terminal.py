"""What both commands do."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from letsgo_queue import QueueSettings
from letsgo_queue.admin import create_queue
from letsgo_queue.cli.app import main
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


def test_with_its_input_closed_it_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    monkeypatch.setattr(sys, "argv", ["letsgo-queue", "queue", "purge", "--queue", url])
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after `<&-`

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "there is no terminal to ask on" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_full_disk_is_one_line(
    form: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"sqlite:///{tmp_path}/work.db"
    create_queue(url, QueueSettings())
    arguments = ["letsgo-queue", "dead-letter", "redrive", "--queue", url, *form]
    monkeypatch.setattr(sys, "argv", arguments)
    full = Path("/dev/full").open("w")  # noqa: SIM115  closing it fails as well
    monkeypatch.setattr(sys, "stdout", full)

    with pytest.raises(SystemExit) as ended:
        main()

    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the result cannot be written: No space left on device.")
