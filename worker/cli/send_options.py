"""The options of `pprm send`.

It has a command for each topic family, and an option for each field of its messages.
"""

import json
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from schemas.limits import Message
from worker.cli.send import MODELS

SHORT = {"user_id": "--user", "product_id": "--product"}
"""Beside the option that has the field's whole name."""
MADE = {
    "event_id": "made if absent",
    "request_id": "made if absent",
    "occurred_at": "now if absent",
}

Run = Callable[..., None]


def command(family: str, run: Run, common: Mapping[str, Any]) -> Run:
    """Make a function for typer that calls `run` with a family's options.

    `run` gets the family, the common parameters, and a mapping `given` of fields.

    Args:
        family: the topic family.
        run: what is called.
        common: parameters of every family: names, and what typer makes options of.
    """
    model = MODELS[family]

    def send(**parameters: Any) -> None:
        fields = {name: parameters.pop(name) for name in model.model_fields}
        given = {
            name: value(model, name, text) for name, text in fields.items() if text is not None
        }
        run(family, given=given, **parameters)

    parameters = [_parameter(name, kind) for name, kind in common.items()]
    parameters += [
        _parameter(name, _option(model, name, field)) for name, field in model.model_fields.items()
    ]
    send.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    send.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    send.__doc__ = f"Send {family}. {' '.join((model.__doc__ or '').split())}"
    return send


def value(model: type[Message], name: str, text: str) -> Any:
    """What an option's text stands for: itself where the field may be a text, else JSON.

    Raises:
        typer.BadParameter: the field is a list or a map, and the text no JSON.
    """
    kinds = _kinds(model, name)
    if any(kind.get("type") == "string" for kind in kinds):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if example := _example(kinds):
            raise typer.BadParameter(
                f"it takes JSON, e.g. {example}, not {text!r}", param_hint=_flag(name)
            ) from error
        return text  # the schema says what it must be


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _kinds(model: type[Message], name: str) -> list[dict[str, Any]]:
    """The JSON schemas of which a field fits one."""
    field = model.model_json_schema()["properties"][name]
    return [field, *field.get("anyOf", [])]


def _example(kinds: list[dict[str, Any]]) -> str:
    """JSON as a shell takes it, of a list or a map; empty for what is neither."""
    types = {kind.get("type"): kind for kind in kinds}
    if "object" in types:
        return """'{"colour": "red"}'"""
    if "array" not in types:
        return ""
    items = types["array"]["items"]
    if "$ref" in items:
        return "'[{...}, {...}]', as its schema has it"
    return "'[0.12, -0.03]'" if items.get("type") == "number" else """'["Home", "Kitchen"]'"""


def _values(kinds: list[dict[str, Any]]) -> str:
    """The words that a field may be; empty where it may be any."""
    return ", ".join(word for kind in kinds for word in kind.get("enum", []))


def _parameter(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(model: type[Message], name: str, field: FieldInfo) -> Any:
    flags = [_flag(name), *([SHORT[name]] if name in SHORT else [])]
    kinds = _kinds(model, name)
    values, example = _values(kinds), _example(kinds)
    about = [
        field.description or "",
        f"one of {values}" if values else "",
        f"JSON, e.g. {example}" if example else "",
        MADE.get(name, "needed" if field.is_required() else ""),
    ]
    return Annotated[
        str | None, typer.Option(*flags, metavar="VALUE", help="; ".join(filter(None, about)))
    ]
