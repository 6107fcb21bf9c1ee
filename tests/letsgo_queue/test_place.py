"""Where in the user's code an error was raised."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from letsgo_queue.place import Place, place_of


def module_at(path: Path, name: str, source: str) -> ModuleType:
    """A module as if it was imported from a file."""
    module = ModuleType(name)
    exec(compile(source, path, "exec"), vars(module))
    return module


def raised_by(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011  any
        call()
    return caught.value


def here(error: BaseException, function: str) -> None:
    """Its place is in a function of this file."""
    place = place_of(error)
    assert place is not None
    assert (Path(place.file).name, place.function) == (Path(__file__).name, function)


class Shop:
    def read(self) -> object:
        return json.loads("no JSON")


def test_it_is_the_last_line_of_the_user_and_not_of_a_library() -> None:
    error = raised_by(Shop().read)

    assert place_of(error) == Place(
        file="tests/letsgo_queue/test_place.py",
        line=Shop.read.__code__.co_firstlineno + 1,
        function="Shop.read",
    )


def test_an_error_of_ours_has_the_place_of_its_cause() -> None:
    def handler() -> None:
        try:
            json.loads("no JSON")
        except ValueError as error:
            raise wrapped from error

    wrapped = RuntimeError("from deep inside")
    error = raised_by(handler)
    here(error, "test_an_error_of_ours_has_the_place_of_its_cause.handler")

    here(wrapped.with_traceback(None), "test_an_error_of_ours_has_the_place_of_its_cause.handler")


def test_a_group_has_the_place_of_its_first_error() -> None:
    async def child() -> None:
        raise ValueError

    async def handler() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    error = raised_by(lambda: asyncio.run(handler()))
    here(error, "test_a_group_has_the_place_of_its_first_error.child")


@pytest.mark.parametrize(("package", "file"), [("shop", "shop/orders.py"), ("", None)])
def test_an_installed_package_is_the_users_if_the_handler_is_in_it(
    tmp_path: Path, package: str, file: str | None
) -> None:
    packages = tmp_path / "site-packages"
    library = module_at(packages / "lib" / "core.py", "lib.core", "def work(): 1 / 0")
    source = "def on_order(work): work()"
    shop = module_at(packages / "shop" / "orders.py", "shop.orders", source)

    error = raised_by(lambda: shop.on_order(library.work))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # ours

    place = place_of(error, package=package)
    assert (place and place.file) == file


def test_what_never_met_the_users_code_has_no_place() -> None:
    assert place_of(ValueError("never raised")) is None

    from letsgo_queue.durations import seconds_in

    error = raised_by(lambda: seconds_in("x", "delay", ValueError))
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # ours
    assert place_of(error) is None


def test_a_path_elsewhere_stays_and_a_long_one_keeps_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = "def work(): 1 / 0"
    inside = module_at(tmp_path / "app" / "a\x1b[31m.py", "app", source)
    outside = module_at(Path("/srv/app/b.py"), "app", source)
    long = module_at(Path("/srv") / ("x" * 300) / "c.py", "app", source)

    files = [
        place.file
        for module in (inside, outside, long)
        if (place := place_of(raised_by(module.work))) is not None
    ]
    assert files == [r"app/a\x1b[31m.py", "/srv/app/b.py", "x" * 195 + "/c.py"]


@pytest.mark.skipif(sys.platform != "linux", reason="others keep such a directory")
def test_a_working_directory_that_is_gone_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(OSError, match="No such file"):
        os.getcwd()  # noqa: PTH109  what the library asks

    here(raised_by(Shop().read), "Shop.read")
