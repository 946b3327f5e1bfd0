"""Topic `dead-letters`: the original key and bytes; why and whence in the headers."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.limits import Message

Why = Literal[
    "oversize", "key", "tombstone", "encoding", "depth", "json", "schema", "vector", "future",
    "state",
    "unreadable", "envelope",
]  # fmt: skip
REASONS: tuple[Why, ...] = (
    "oversize", "key", "tombstone", "encoding", "depth", "json", "schema", "vector", "future",
    "state",
    "unreadable", "envelope",
)  # fmt: skip
"""Why a record was refused; also the values of a metric's label."""


class DeadLetterHeaders(Message):
    """Headers of a dead letter, each as UTF-8 text.

    The original's own headers follow under `original_`.
    """

    reason: Why
    detail: Annotated[str, Field(max_length=512, description="readable, without the data itself")]
    stage: Literal["decode", "validate", "fold"]
    source_topic: Annotated[str, Field(max_length=249)]
    source_partition: Annotated[int, Field(ge=0)]
    source_offset: Annotated[
        int, Field(ge=-1, description="-1 for a damaged state, whose source is the changelog")
    ]
    source_timestamp_ms: int
    cut_from_bytes: Annotated[
        int | None, Field(description="length of an original too long to be kept whole")
    ] = None
    sha256: Annotated[
        str | None, Field(description="of an original too long to be kept whole, in hex")
    ] = None
    key_cut_from_bytes: Annotated[
        int | None, Field(description="length of a key too long to be kept whole")
    ] = None
    key_sha256: Annotated[
        str | None, Field(description="of a key too long to be kept whole, in hex")
    ] = None
    original_headers_cut: Literal["true"] | None = None
