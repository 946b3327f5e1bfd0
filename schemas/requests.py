"""Topic `requests`, key: user_id."""

from schemas.limits import Id, Message, Time


class Request(Message):
    """A list is wanted as of a moment.

    It counts as the beginning of a visit, not as interest in a product.
    """

    request_id: Id
    user_id: Id
    occurred_at: Time
