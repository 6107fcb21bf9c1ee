"""The options in the URL of an embedded queue: `sqlite:///work.db?fifo=true`."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.settings import named_queue
from letsgo_queue.validation import problems_in

OptionsT = TypeVar("OptionsT", bound=BaseModel)


def options_in(url: str, model: type[OptionsT]) -> OptionsT:
    """The options of a queue.

    Raises:
        SettingsInvalid: An option is not known, or out of range.
    """
    try:
        return model.model_validate(dict(parse_qsl(url.partition("?")[2], keep_blank_values=True)))
    except ValidationError as error:
        problems = problems_in(error, model, lambda location: str(location[0]))
        raise SettingsInvalid(f"{named_queue(url)}: {problems}.") from None
