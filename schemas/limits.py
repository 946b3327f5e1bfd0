"""Types and limits that the messages share. Every field has one: input is bounded before it is used."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

MAX_ID_BYTES = 128
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


Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_BYTES), AfterValidator(_id)]
"""1 to 128 bytes of UTF-8."""
Time = Annotated[AwareDatetime, AfterValidator(_within)]
"""RFC 3339 with a time zone, from 2000 until 2100."""
ShortText = Annotated[str, Field(max_length=512)]
LongText = Annotated[str, Field(max_length=8192)]
Price = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Vector = Annotated[
    list[Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]], Field(min_length=1, max_length=4096)
]
"""As many numbers as the model reads, which only the worker knows."""
Attributes = Annotated[dict[Annotated[str, Field(min_length=1, max_length=64)], ShortText], Field(max_length=32)]
"""At most 32 names, each with a short text."""


class Message(BaseModel):
    """Base of all messages. Unknown fields are ignored, so that producers may be newer than consumers."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)
