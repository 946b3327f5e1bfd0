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
        _parameter(name, _option(name, field)) for name, field in model.model_fields.items()
    ]
    send.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    send.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    send.__doc__ = f"Send {family}. {' '.join((model.__doc__ or '').split())}"
    return send


def value(model: type[Message], name: str, text: str) -> Any:
    """What an option's text stands for: itself where the field may be a text, else JSON."""
    kinds = model.model_json_schema()["properties"][name]
    if any(kind.get("type") == "string" for kind in (kinds, *kinds.get("anyOf", []))):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # the schema says what it must be


def _parameter(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _option(name: str, field: FieldInfo) -> Any:
    flags = [f"--{name.replace('_', '-')}", *([SHORT[name]] if name in SHORT else [])]
    about = [field.description or "", MADE.get(name, "needed" if field.is_required() else "")]
    return Annotated[
        str | None, typer.Option(*flags, metavar="VALUE", help="; ".join(filter(None, about)))
    ]
