"""Learns from pydantic's schema what a model does to its JSON, once for each model.

Most models read what they write, so their messages need no trial. This module knows the schemas for
which that is true. A model with another schema, or with code of its own, may write JSON that it
does not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic import BaseModel

_Schema: TypeAlias = Mapping[str, Any]
"""A schema of `pydantic_core`: https://docs.pydantic.dev/latest/api/pydantic_core_schema."""

_WRITTEN_AS: Mapping[str, str] = {
    **dict.fromkeys(("str", "bytes", "decimal", "uuid", "date", "time", "datetime"), "text"),
    **dict.fromkeys(("list", "tuple", "set", "frozenset"), "array"),
    **dict.fromkeys(("dict", "typed-dict", "model"), "object"),
    **dict.fromkeys(("int", "float"), "number"),
    "timedelta": "text",
    "bool": "boolean",
    "none": "null",
}
"""The schemas that read what they write, each with its type in JSON."""

_ALSO_KNOWN = frozenset(
    {
        *("any", "nullable", "default", "definitions", "definition-ref", "enum", "literal"),
        *("model-fields", "model-field", "typed-dict-field", "union", "tagged-union"),
    }
)

_HARMLESS = frozenset(
    {
        *("type", "ref", "metadata", "strict", "cls", "config", "schema", "schema_ref"),
        *("definitions", "items_schema", "keys_schema", "values_schema", "variadic_item_index"),
        *("fail_fast", "fields", "model_name", "cls_name", "root_model", "frozen", "total"),
        *("custom_init", "generic_origin", "extra_behavior", "extras_schema", "from_attributes"),
        *("computed_fields", "members", "sub_type", "expected", "choices", "discriminator", "mode"),
        *("required", "default", "default_factory", "default_factory_takes_data", "copy_default"),
        *("validate_default", "validation_alias", "serialization_alias", "microseconds_precision"),
        *("allow_inf_nan", "revalidate_instances"),
    }
)
"""Keys of a schema that do not change values, or that the code below checks."""

_BOUNDS = frozenset(
    {
        *("ge", "gt", "le", "lt", "multiple_of", "max_digits", "decimal_places", "now_op"),
        *("min_length", "max_length", "pattern", "tz_constraint"),
    }
)
"""Keys of a schema that refuse some values, and do not change the others."""


@dataclass(slots=True)
class Facts:
    """How a model may change its messages.

    Attributes:
        compare: It may read something else than it wrote, or fail to read it.
        check: It has rules that a later assignment to a field may break.
        untyped: It may hold a value of any type somewhere.
        loses_nan: It may write null for NaN or Infinity, which JSON lacks.
        finite: It refuses NaN and Infinity when it reads, though it may write them as text.
        odd_json: It may write invalid JSON, or more levels than readers accept.
        has_type: It surely writes its `type`.
        models: The model itself, and the models in it.
        inner: The models in it. If a value is of a subclass, only the model's fields are written.
        dumps_itself: It has a `model_dump_json` of its own.
    """

    compare: bool = False
    check: bool = False
    untyped: bool = False
    loses_nan: bool = False
    finite: bool = False
    odd_json: bool = False
    has_type: bool = False
    models: frozenset[type[BaseModel]] = frozenset()
    inner: tuple[type[BaseModel], ...] = ()
    dumps_itself: bool = False

    def may_cut(self) -> bool:
        """Whether a model in it has subclasses now."""
        for model in self.inner:  # noqa: SIM110  it runs for each message, and is quicker so
            if type.__subclasses__(model):  # and so
                return True
        return False


@lru_cache(maxsize=1_000)
def facts_of(model: type[BaseModel]) -> Facts:
    """Return how a model may change its messages."""
    facts = Facts(dumps_itself=model.model_dump_json is not BaseModel.model_dump_json)
    _look(model.__pydantic_core_schema__, {}, facts)
    facts.compare |= facts.dumps_itself
    facts.odd_json |= facts.compare or facts.untyped
    field = model.model_fields.get("type")
    others = (each for name, each in model.model_fields.items() if name != "type")
    facts.has_type = (
        not facts.compare
        and field is not None
        and field.serialization_alias in {None, "type"}
        and all(each.serialization_alias != "type" for each in others)
    )
    facts.inner = tuple(facts.models - {model})
    facts.models |= {model}
    return facts


def _look(schema: _Schema, config: _Schema, facts: Facts) -> None:
    """Add the facts of a schema, and of the schemas in it.

    Args:
        schema: The schema.
        config: The configuration of the model that it is in.
        facts: Filled.
    """
    kind = schema["type"]
    if kind not in _WRITTEN_AS and kind not in _ALSO_KNOWN:
        facts.compare = True
        return
    keys = schema.keys() - _HARMLESS
    if keys - _BOUNDS:
        facts.compare = True
    elif keys or kind == "literal":
        facts.check |= not (config.get("frozen") or config.get("validate_assignment"))
    if "config" in schema:  # this config does not tell whether the model is frozen
        config = {**schema["config"], **getattr(schema.get("cls"), "model_config", {})}
    facts.compare |= _may_differ(schema, config)
    match kind:
        case "any":
            facts.untyped = facts.loses_nan = True
        case "float":
            mode = config.get("ser_json_inf_nan", "null")
            facts.loses_nan |= mode == "null"
            facts.odd_json |= mode == "constants"
        case "decimal":
            facts.finite |= not schema.get("allow_inf_nan")
        case "definition-ref":  # it may refer to the schema around it
            facts.odd_json = True
        case "model":
            facts.models |= {schema["cls"]}
        case "model-fields" | "typed-dict":
            facts.untyped |= _extra(schema, config) == "allow"
    for each in _inside(schema):
        _look(each, config, facts)


def _may_differ(schema: _Schema, config: _Schema) -> bool:
    """Whether a known schema may write a value in another way than it reads it."""
    found = False
    match schema["type"]:
        case "str":
            found = any(name.startswith("str_") for name in config)
        case "bytes":
            found = config.get("ser_json_bytes", "utf8") != config.get("val_json_bytes", "utf8")
        case "date" | "time" | "datetime" | "timedelta":
            found = not {"ser_json_timedelta", "ser_json_temporal"}.isdisjoint(config)
        case "enum":
            found = not all(isinstance(each.value, str) for each in schema["members"])
        case "literal":
            found = not all(type(each) in {str, int, bool} for each in schema["expected"])
        case "dict":
            found = schema.get("keys_schema", {}).get("type") != "str"
        case "union":
            written_as = [_WRITTEN_AS.get(each["type"]) for each in _choices(schema)]
            found = schema.get("mode", "smart") != "smart" or None in written_as
            found |= len(set(written_as)) < len(written_as)
        case "model":
            found = schema.get("custom_init", False)
        case "model-fields" | "typed-dict":
            computed = bool(schema.get("computed_fields"))
            found = computed and _extra(schema, config) in {"allow", "forbid"}
            found |= any(
                _has_two_names(name, field, config) for name, field in schema["fields"].items()
            )
            # A dict may have got more keys since, which would not be written.
            found |= schema["type"] == "typed-dict" and _extra(schema, config) != "allow"
    return found


def _extra(schema: _Schema, config: _Schema) -> object:
    return schema.get("extra_behavior") or config.get("extra")


def _has_two_names(name: str, field: _Schema, config: _Schema) -> bool:
    """Whether a field is written under another name than it is read by."""
    written, read = field.get("serialization_alias"), field.get("validation_alias")
    by_alias = config.get("validate_by_alias") is not False
    return (written or name) != ((read if by_alias else None) or name)


def _inside(schema: _Schema) -> Iterable[_Schema]:
    """Yield the schemas in a schema."""
    for name in ("schema", "keys_schema", "values_schema", "extras_schema"):
        if name in schema:
            yield schema[name]
    items = schema.get("items_schema", [])  # a tuple has a list of them
    yield from items if isinstance(items, list) else [items]
    yield from schema.get("fields", {}).values()
    yield from schema.get("definitions", [])
    yield from _choices(schema)


def _choices(schema: _Schema) -> Iterable[_Schema]:
    choices = schema.get("choices", [])
    for each in choices.values() if isinstance(choices, Mapping) else choices:
        yield each[0] if isinstance(each, tuple) else each  # with a label
