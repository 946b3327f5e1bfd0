"""When a list is due, by the words of `pprm.state.freshness`, for one shopper at a time."""


def slot_of(user: int, period: int) -> int:
    """A shopper's second of each period; `user` is the hash of the id."""
    return user % period


def due(listed_at: int, visit_ends: int | None, slot: int, period: int) -> int:
    """When the visit in which the list was made is over, else the first slot after the list."""
    if visit_ends is not None and visit_ends > listed_at:
        return visit_ends
    passed = (listed_at - slot) // period
    return slot + (passed + 1) * period
