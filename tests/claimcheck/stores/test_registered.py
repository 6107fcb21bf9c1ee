"""Stores of other packages: a package registers a URL scheme as an entry point."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from claimcheck import SettingsInvalid, open_store
from claimcheck.settings import claim_check_for
from claimcheck.stores.memory import MemoryClaimStore
from claimcheck.testing.claims import read, write

OPENS_ONE = """
from claimcheck.stores.memory import MemoryClaimStore

def open_it(url):
    store = MemoryClaimStore()
    store.url = url
    return store
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package whose store has the scheme `shelf`."""

    def install(module: str = OPENS_ONE, *, package: str = "shelf-claims") -> None:
        name = package.replace("-", "_")
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[claimcheck.stores]\nshelf = {name}:open_it\n")
        (tmp_path / f"{name}.py").write_text(module)
        monkeypatch.setitem(sys.modules, name, None)  # put back what was there: nothing
        del sys.modules[name]

    monkeypatch.syspath_prepend(tmp_path)
    return install


def test_it_opens_urls_of_its_scheme(install: Install) -> None:
    install()

    with closing(open_store("shelf://box/1?a=b")) as store:
        assert isinstance(store, MemoryClaimStore)
        assert store.url == "shelf://box/1?a=b"
        claim = write(store)
        assert read(store, claim) == claim.contents


def test_the_environment_names_it_as_any_other(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    monkeypatch.setenv("CLAIMCHECK_STORE", "shelf://of-the-environment")

    assert claim_check_for("memory://").store.url == "shelf://of-the-environment"


def test_it_is_loaded_when_such_a_url_is_opened(install: Install, tmp_path: Path) -> None:
    install("raise SystemExit('it is loaded')")
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "import claimcheck\n"
        "assert 'importlib.metadata' not in sys.modules\n"
        "claimcheck.open_store('memory://')\n"
        "claimcheck.open_store('shelf://box')\n"
    )

    ran = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (1, "it is loaded\n")


def test_a_scheme_that_nobody_has_is_answered_with_those_that_there_are(install: Install) -> None:
    install()

    with pytest.raises(
        SettingsInvalid,
        match=r"^claim store 'self://box': expected dynamodb://TABLE, .*, letsgo://DEPLOYMENT or "
        r"shelf://\. No installed package registers self:// \(claimcheck\.stores\)\.$",
    ):
        open_store("self://box")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            "import no_such_module",
            r"shelf-claims registers the scheme shelf, and cannot be loaded "
            r"\(ModuleNotFoundError: No module named 'no_such_module'\)\.$",
        ),
        ("def open(url): ...", r"cannot be loaded \(AttributeError: .*open_it"),
        ("def open_it(url): return 1 // 0", r"shelf-claims cannot open it \(ZeroDivisionError\)"),
        ("def open_it(url): return 5", r"shelf-claims opened something of type int, which is no"),
        ("def open_it(url): return None", r"something of type NoneType, which is no store"),
        (
            "from claimcheck import SettingsInvalid\n"
            "def open_it(url): raise SettingsInvalid('a box has a number.')",
            r"^a box has a number\.$",
        ),
    ],
)
def test_what_is_wrong_with_a_package_is_said_in_one_line(
    install: Install, module: str, text: str
) -> None:
    install(module)

    with pytest.raises(SettingsInvalid, match=text) as error:
        open_store("shelf://box")

    assert "\n" not in str(error.value)


def test_of_two_packages_with_one_scheme_none_is_taken(install: Install) -> None:
    install()
    install(package="my-shelf")

    with pytest.raises(SettingsInvalid, match="my-shelf and shelf-claims each register the scheme"):
        open_store("shelf://box")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CLAIMCHECK_STORE", "shelf://me:hunter2@box"),
        ("CLAIMCHECK_READ_STORES", "memory://, shelf://me:hunter2@box"),
        ("CLAIMCHECK_STORES", "video:*=shelf://me:hunter2@box"),
    ],
)
def test_an_error_names_the_variable_and_no_password(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(
        SettingsInvalid, match=rf"^{variable}: claim store 'shelf://box': exp"
    ) as error:
        claim_check_for("memory://")

    assert "hunter2" not in str(error.value)
