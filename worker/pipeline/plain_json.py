"""A fast way to read plain messages.

Whatever else comes is left to the model, and so is every refusal.

Plain is what almost every producer sends: ASCII without escapes, on one line, nested no deeper than
`attributes`. msgspec reads it in a fifth of pydantic's time, and all that came together in one go.
The fields and limits are taken from the pydantic model, so that there is one definition.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AwareDatetime

from schemas.limits import EARLIEST, LATEST, Kept, Message

_LIMITS = {
    MinLen: "min_length",
    MaxLen: "max_length",
    Kept: "max_length",
    Gt: "gt",
    Ge: "ge",
    Le: "le",
}


def reader(model: type[Message], time: str) -> Callable[[Sequence[bytes]], list[Any]]:
    """Make a function from JSON texts to as many objects with the model's fields.

    An object is None where the model must decide; the model takes any other with the same values.
    `time` is the model's field of type `Time`.
    """
    fields: list[Any] = [
        (
            name,
            _type(field.annotation, field.metadata),
            *([] if field.is_required() else [field.default]),
        )
        for name, field in model.model_fields.items()
    ]
    decoder = msgspec.json.Decoder(msgspec.defstruct(model.__name__, fields, gc=False))
    time_of = attrgetter(time)

    def read(values: Sequence[bytes]) -> list[Any]:
        messages = _lines(decoder.decode_lines, values)
        if messages is None:
            return (
                [None]
                if len(values) == 1
                else [message for value in values for message in read([value])]
            )
        return [message if EARLIEST <= time_of(message) < LATEST else None for message in messages]

    return read


def _lines(decode: Callable[[bytes], list[Any]], values: Sequence[bytes]) -> list[Any] | None:
    """One object of each value, None where one of them is not plain."""
    text = b"\n".join(values)
    if not _is_plain(text, len(values)):
        return None
    try:
        messages = decode(text)
    except msgspec.MsgspecError:
        return None
    return messages if len(messages) == len(values) else None


def _is_plain(text: bytes, lines: int) -> bool:
    """Whether a text is plain: ASCII without escapes, not deeply nested, no second rounded up.

    ASCII without escapes has as many bytes as characters. A value is one line and an object, so
    that no two of them can pass for two others.
    """
    return (
        text.isascii() and b"\\" not in text and b"[" not in text and text.count(b"{") <= lines + 1
        and b".999999" not in text and text.count(b"\n") == lines - 1
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
    limits = {
        name: getattr(constraint, name)
        for constraint in metadata
        if (name := _LIMITS.get(type(constraint)))
    }
    return Annotated[kind, msgspec.Meta(**limits)]


def _flat(metadata: list[Any]) -> list[Any]:
    """Take apart pydantic's `Field(...)` which holds the limits it was given."""
    return [
        limit for constraint in metadata for limit in getattr(constraint, "metadata", [constraint])
    ]
