"""Topic `users` (compacted), key: user_id. A null value forgets the shopper."""

from typing import Annotated

from pydantic import Field

from schemas.limits import Attributes, Id, Kept, Message, Time


class User(Message):
    """What is known of a shopper: free text, and names with values such as age band, home, city."""

    user_id: Id
    updated_at: Annotated[Time | None, Field(description="the record's own time where absent")] = (
        None
    )
    text: Annotated[str, Kept(1024)] | None = None
    attributes: Annotated[Attributes, Field(default_factory=dict)]
