"""The package itself."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import claimcheck
import claimcheck.audit
import letsgo_queue
import letsgo_queue.testing

SCRIPT = """
import sys
import letsgo_queue

letsgo_queue.Client("memory://").enqueue({"type": "a"})
print(*sys.modules)
"""


def test_import_is_cheap() -> None:
    """A Lambda pays for each import at its cold start."""
    script = [sys.executable, "-c", SCRIPT]
    output = subprocess.run(script, check=True, timeout=60, capture_output=True, text=True).stdout

    loaded = set(output.split())
    assert "letsgo_queue.sending.client" in loaded
    assert loaded.isdisjoint({"boto3", "botocore", "pynamodb", "claimcheck", "platformdirs", "h11"})


PACKAGES = (letsgo_queue, letsgo_queue.testing, claimcheck, claimcheck.audit)


def loaded_by(statement: str) -> set[str]:
    """The modules that a program has loaded in the end."""
    program = f"import sys\n{statement}\nprint(*sys.modules)"
    script = [sys.executable, "-c", program]
    output = subprocess.run(script, check=True, timeout=60, capture_output=True, text=True).stdout
    return set(output.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import letsgo_queue",
        "import claimcheck",
        "import claimcheck.audit",
        "import claimcheck.audit.pytest_plugin",  # which every pytest run loads
        "import letsgo_queue.testing.pytest_plugin",  # so is this one
    ],
)
def test_what_is_not_used_is_not_loaded(statement: str) -> None:
    loaded = loaded_by(statement)
    assert loaded.isdisjoint({"pydantic", "zstandard", "letsgo_queue.sending.client"})
    assert loaded.isdisjoint({"claimcheck.core.claim_check", "claimcheck.audit.recorder"})
    assert "letsgo_queue.testing.sandbox" not in loaded


def test_who_sends_does_not_load_what_receives() -> None:
    loaded = loaded_by(
        "import claimcheck; claimcheck.enqueue({'type': 'a'}, queue='memory://')",
    )
    assert "letsgo_queue.sending.client" in loaded
    receives = ("letsgo_queue.worker", "letsgo_queue.aws_lambda", "claimcheck.unwrap")
    assert [name for name in loaded if name.startswith(receives)] == []


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in PACKAGES for name in package.__all__]
)
def test_what_it_names_is_there(package: ModuleType, name: str) -> None:
    found = getattr(package, name)
    assert name in dir(package)
    assert not isinstance(found, ModuleType)
    # That of the module that it says it is from, and the same each time.
    assert getattr(package, name) is found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_what_it_does_not_have_is_an_error(package: ModuleType) -> None:
    message = f"module '{package.__name__}' has no attribute 'enquue'"
    with pytest.raises(AttributeError, match=message):
        _ = package.enquue
