"""A forked process is as one of its own: what it gets, what it gives, how it ends."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.quick_python import quick_python
from tests.support.waiting import wait_for

SHOW = """
import json, os, sys
streams = [(each.encoding, each.errors, each.line_buffering) for each in (sys.stdout, sys.stderr)]
print(json.dumps([
    __name__, sys.argv, sys.path[:2], os.getcwd(), dict(os.environ), streams, sys.stdin.read(),
    sys.modules["__main__"].__dict__["SHOWN"], os.getpgrp(), sys.orig_argv, os.isatty(1),
]))
""".replace("import json", "SHOWN = 1\nimport json")


def run(
    python: Sequence[str], *arguments: str, cwd: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*python, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        input="Zürich",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("how", ["code", "module", "script"])
@pytest.mark.parametrize(
    "variables",
    [{}, {"PYTHONPATH": "/somewhere"}, {"PYTHONIOENCODING": "cp1252:replace"}, {"LC_ALL": "C"}],
    ids=str,
)
def test_is_what_a_python_of_its_own_is(
    tmp_path: Path, how: str, variables: dict[str, str]
) -> None:
    (tmp_path / "shown.py").write_text(SHOW)
    program = {"code": ["-c", SHOW], "module": ["-m", "shown"], "script": ["shown.py"]}[how]
    arguments = [*program, "", "a b", "größe"]

    quick = run(quick_python(), *arguments, cwd=tmp_path, **variables)

    real = run([sys.executable], *arguments, cwd=tmp_path, **variables)
    assert json.loads(quick.stdout) == json.loads(real.stdout)
    assert (quick.returncode, quick.stderr) == (real.returncode, real.stderr) == (0, "")


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("", 0),
        ("import sys; sys.exit(7)", 7),
        ("1 / 0", 1),
        ("import os; os._exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_ends_as_a_python_of_its_own_does(tmp_path: Path, code: str, ends: int) -> None:
    assert run(quick_python(), "-c", code, cwd=tmp_path).returncode == ends


def test_what_is_registered_for_its_end_is_done(tmp_path: Path) -> None:
    code = "import atexit; atexit.register(print, 'the end')"

    assert run(quick_python(), "-c", code, cwd=tmp_path).stdout == "the end\n"


def test_options_of_python_work(tmp_path: Path) -> None:
    warns = "import warnings; warnings.warn('this')"

    ended = run(quick_python(), "-W", "error", "-c", warns, cwd=tmp_path)

    assert ended.returncode == 1
    assert "UserWarning: this" in ended.stderr


def test_a_folder_with_hooks_for_the_start_of_python_works(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hooked')")

    ended = run(quick_python(), "-c", "", cwd=tmp_path, PYTHONPATH=str(tmp_path))

    assert ended.stdout == "hooked\n"


WAITS = """
import os, signal, sys, threading
signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print(os.getpid(), flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGTERM, 5), (signal.SIGINT, -signal.SIGINT)], ids=str
)
def test_signals_are_passed_on(number: signal.Signals, ends: int) -> None:
    with subprocess.Popen(
        [*quick_python(), "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)

        assert process.wait(60) == ends


def test_no_process_outlives_who_started_it() -> None:
    with subprocess.Popen([*quick_python(), "-c", WAITS], stdout=subprocess.PIPE) as process:
        assert process.stdout
        number = int(process.stdout.readline())
        process.kill()

    wait_for(lambda: not Path(f"/proc/{number}").exists(), "the end of it")


def test_who_is_killed_while_it_asks_takes_nobody_along() -> None:
    *_, address = quick_python()
    for sent in (b"", b"\0\0\0"):
        with socket.socket(socket.AF_UNIX) as launcher:
            launcher.connect(address)
            launcher.sendall(sent)
    for _ in range(30):  # at any moment
        with subprocess.Popen([*quick_python(), "-c", ""]) as process:
            process.kill()
    done = subprocess.run([*quick_python(), "-c", "print(1)"], capture_output=True, check=True)
    assert done.stdout == b"1\n"


def test_a_process_that_a_test_forks_leaves_the_server_alone() -> None:
    quick_python()
    if (child := os.fork()) == 0:
        atexit._run_exitfuncs()
        os._exit(0)
    os.waitpid(child, 0)
    done = subprocess.run([*quick_python(), "-c", "print(1)"], capture_output=True, check=True)
    assert done.stdout == b"1\n"
