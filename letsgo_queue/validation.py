"""Checks settings, and says what is wrong in the words of the person who wrote them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pydantic import BaseModel, ValidationError

from letsgo_queue.errors import SettingsInvalid


def check_number(name: str, value: object, *, whole: bool = True) -> None:
    """Refuse a value that is not a number. The caller checks its range.

    Raises:
        SettingsInvalid: It is not a number, or not a whole number though `whole` is set.
    """
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        kind = "a whole number" if whole else "a number"
        raise SettingsInvalid(f"{name} is of type {type(value).__name__}: give {kind}.")


def check_text(name: str, value: object) -> None:
    """Refuse a value that is not text.

    Raises:
        SettingsInvalid: It is not text.
    """
    if not isinstance(value, str):
        raise SettingsInvalid(f"{name} is of type {type(value).__name__}: give text.")


def problems_in(
    error: ValidationError, model: type[BaseModel], name: Callable[[Sequence[int | str]], str]
) -> str:
    """Say what is wrong with each setting; for an unknown name, say which names are known.

    Args:
        error: The error of pydantic.
        model: The settings.
        name: Names a setting, by the names that lead to it.
    """
    return "; ".join(
        f"{name(each['loc'])}: {_problem(each['type'], each['msg'], each['loc'], model)}"
        for each in error.errors(include_url=False, include_input=False)
    )


def _problem(kind: str, text: str, location: Sequence[int | str], model: type[BaseModel]) -> str:
    if kind != "extra_forbidden":
        return text.removeprefix("Value error, ")
    return f"there is no such name; there are {', '.join(_names_beside(location, model))}"


def _names_beside(location: Sequence[int | str], model: type[BaseModel]) -> Iterable[str]:
    for part in location[:-1]:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        assert issubclass(inner, BaseModel)
        model = inner
    return model.model_fields
