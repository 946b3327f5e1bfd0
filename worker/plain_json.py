"""A fast way to read the plain cases of a message; whatever else comes is left to the model, and so is every refusal.

Plain is what almost every producer sends: ASCII without escapes, nested no deeper than `attributes`. msgspec reads it
in a fifth of pydantic's time. The fields and limits are taken from the pydantic model, so that there is one definition.
"""

from collections.abc import Callable
from datetime import datetime
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AwareDatetime

from schemas.limits import EARLIEST, LATEST, Message

_LIMITS = {MinLen: "min_length", MaxLen: "max_length", Gt: "gt", Ge: "ge", Le: "le"}


def reader(model: type[Message], time: str) -> Callable[[bytes], Any]:
    """Function from JSON to an object with the model's fields, or None where the model must decide.

    What it returns, the model takes with the same values; `time` is the model's field of type `Time`.
    """
    fields: list[Any] = [
        (name, _type(field.annotation, field.metadata), *([] if field.is_required() else [field.default]))
        for name, field in model.model_fields.items()
    ]
    decode = msgspec.json.Decoder(msgspec.defstruct(model.__name__, fields, gc=False)).decode

    def read(value: bytes) -> Any:
        if not _is_plain(value):
            return None
        try:
            message = decode(value)
        except msgspec.MsgspecError:
            return None
        return message if EARLIEST <= getattr(message, time) < LATEST else None

    return read


def _is_plain(value: bytes) -> bool:
    """ASCII without escapes has as many bytes as characters; nothing is nested deeply; no second is rounded up."""
    return (
        value.isascii() and b"\\" not in value and b"[" not in value and value.count(b"{") <= 2
        and b".999999" not in value
    )  # fmt: skip


def _type(annotation: Any, metadata: list[Any]) -> Any:
    """A pydantic field's type as msgspec writes it, its limits as `msgspec.Meta`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, *more = arguments
        return _type(kind, [*_flat(more), *metadata])
    if origin in (Union, UnionType):
        return Union[tuple(_type(kind, metadata) for kind in arguments)]  # noqa: UP007  # made at run time
    if annotation is NoneType or origin is Literal:
        return annotation
    if annotation is AwareDatetime:
        return Annotated[datetime, msgspec.Meta(tz=True)]
    kind = dict[_type(arguments[0], []), _type(arguments[1], [])] if origin is dict else annotation  # type: ignore[misc]
    limits = {name: getattr(said, name) for said in metadata if (name := _LIMITS.get(type(said)))}
    return Annotated[kind, msgspec.Meta(**limits)]


def _flat(metadata: list[Any]) -> list[Any]:
    """Take apart pydantic's `Field(...)` which holds the limits it was given."""
    return [limit for said in metadata for limit in getattr(said, "metadata", [said])]
