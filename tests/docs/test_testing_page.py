"""docs/how-to/testing.md, followed."""

from __future__ import annotations

from pathlib import Path

from tests.docs.pytest_runs import passed_tests
from tests.docs.support import Reader, write_blocks

PAGE = "docs/how-to/testing.md"
TESTS = {
    "test_shop.py",
    "test_later.py",
    "test_handler.py",
    "test_async.py",
    "test_api.py",
    "test_on_lambda.py",
    "test_batch.py",
    "in_unittest.py",
}


def test_its_tests(tmp_path: Path) -> None:
    names = write_blocks(PAGE, tmp_path)
    assert names == TESTS | {"shop.py", "api.py", "on_lambda.py", "batch.py"}

    assert passed_tests(tmp_path, *sorted(TESTS)) == 12


def test_in_django(tmp_path: Path) -> None:
    write_blocks("docs/how-to/django.md", tmp_path, language="py")
    assert write_blocks(PAGE, tmp_path, language="py") == {"shop/tests.py"}
    (tmp_path / "shop/__init__.py").touch()
    reader = Reader(tmp_path, DJANGO_SETTINGS_MODULE="site_settings", PYTHONPATH=str(tmp_path))

    assert "Ran 1 test" in reader.log_of("python -m django test shop")
    assert not list(tmp_path.glob("*.db"))
