"""Types and limits that the messages share.

Every field has one: input is bounded before it is used.

Sloppy input is mended where its meaning is plain: null is the default, texts beyond their limit are
cut, attributes become texts. What is ambiguous is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

MAX_ID_BYTES = 128
MAX_ATTRIBUTES = 32
MAX_NAME = 64
MAX_CATEGORIES = 8
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def _id(value: str) -> str:
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"an id has at most {MAX_ID_BYTES} bytes in UTF-8")
    return value


def _within(value: datetime) -> datetime:
    if not EARLIEST <= value < LATEST:
        raise ValueError("a time lies between 2000 and 2100")
    return value


class _BeginsWithADate:
    """Check that a time as text begins with a year.

    Pydantic would take a text of digits for Unix seconds.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        time = handler(source)
        text = core_schema.no_info_after_validator_function(
            self._check, core_schema.str_schema(strict=True)
        )
        from_json = core_schema.chain_schema([text, {**time, "strict": False}])
        return core_schema.json_or_python_schema(from_json, python_schema=time)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time"}

    @staticmethod
    def _check(value: str) -> str:
        if not (value[:4].isdecimal() and value[4:5] == "-"):
            raise ValueError("a time is text as RFC 3339 has it, 2026-03-01T10:00:00Z")
        return value


@dataclass(frozen=True)
class Kept:
    """Make a text of which so many characters are kept.

    That it was cut is noted in the validation's `context`, a list.
    """

    max_length: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._cut, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> JsonSchemaValue:
        return {**handler(schema), "x-kept-length": self.max_length}

    def _cut(self, value: str, info: ValidationInfo) -> str:
        if len(value) <= self.max_length:
            return value
        _tell(info)
        return value[: self.max_length]


def _tell(info: ValidationInfo) -> None:
    if info.context is not None:
        info.context.append(info.field_name)


def _texts(value: Any, info: ValidationInfo) -> Any:
    """Mend attributes as they may come.

    Null and names without a letter are left out, numbers and booleans become text.
    """
    if not isinstance(value, Mapping):
        return value
    said = {name: _text(item) for name, item in value.items() if name and item is not None}
    kept = {name[:MAX_NAME]: _shortened(item) for name, item in list(said.items())[:MAX_ATTRIBUTES]}
    if kept != said:
        _tell(info)
    return kept


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _shortened(value: Any) -> Any:
    return value[:MAX_SHORT] if isinstance(value, str) else value


def _path(value: Any, info: ValidationInfo) -> Any:
    """Categories without null; of a path too long the end, which says most."""
    if not isinstance(value, list):
        return value
    said = [item for item in value if item is not None]
    if len(said) > MAX_CATEGORIES:
        _tell(info)
    return said[-MAX_CATEGORIES:]


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES), AfterValidator(_id)]
"""1 to 128 bytes of UTF-8."""
Time = Annotated[AwareDatetime, _BeginsWithADate(), AfterValidator(_within)]
"""RFC 3339 with a time zone, from 2000 until 2100."""
MAX_SHORT = 512
ShortText = Annotated[str, Kept(MAX_SHORT)]
LongText = Annotated[str, Kept(8192)]
Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Vector = Annotated[
    list[Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]],
    Field(min_length=1, max_length=4096),
]
"""As many numbers as the model reads, which only the worker knows."""
Categories = Annotated[
    list[ShortText],
    Field(max_length=MAX_CATEGORIES),
    BeforeValidator(_path, json_schema_input_type=Annotated[list[ShortText | None], Field()]),
]
"""A path, broadest first; the last eight are kept."""
Attributes = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=MAX_NAME)],
        Annotated[str, Field(max_length=MAX_SHORT)],
    ],
    Field(max_length=MAX_ATTRIBUTES),
    BeforeValidator(_texts, json_schema_input_type=dict[str, str | float | bool | None]),
]
"""Short texts by name: 32 names of up to 64 characters, texts of up to 512, are kept."""


@dataclass(frozen=True)
class _NullIsDefault:
    """A field whose default stands for an explicit null, too."""

    field: FieldInfo

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            self._default, core_schema.nullable_schema(handler(source))
        )

    def _default(self, value: Any) -> Any:
        return self.field.get_default(call_default_factory=True) if value is None else value


class Message(BaseModel):
    """Base of all messages.

    Unknown fields are ignored, so that producers may be newer than consumers.

    Where a field has a default, null means it: exports write null for what they do not have.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Have every field with a default take null."""
        for field in cls.model_fields.values():
            if not field.is_required() and field.get_default(call_default_factory=True) is not None:
                field.metadata.append(_NullIsDefault(field))
        cls.model_rebuild(force=True)
