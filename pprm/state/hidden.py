"""What a shopper does not want to see.

Never again in their lists, whatever is bought or looked at later.
"""

import numpy as np

from pprm.core.events import LOOKS as KINDS
from pprm.state import columns
from pprm.state.user_state import KEY, LOOKS, MAX_HIDDEN, SEQUENCE_DTYPE, TIME, UserState


def hide(state: UserState, product: int) -> None:
    """Keep a product out of the shopper's lists.

    The one that was hidden first goes when there are too many.
    """
    key = KEY.pack(product)
    if columns.find(state.hidden, key) < 0:
        state.hidden = (state.hidden + key)[-MAX_HIDDEN * KEY.size :]


def forget_looks(state: UserState, product: int) -> None:
    """Remove a product's looks and cart events from the shopper's counters.

    So a product that is disliked speaks no longer for its type, its maker, nor for what is like it.
    No counter of dislikes: the product is in no list anyhow, and a model that was trained without
    dislikes reads what it knows.
    """
    acts = np.frombuffer(state.sequence, SEQUENCE_DTYPE)
    looks = (acts["product"] == product) & np.isin(acts["kind"], KINDS)
    state.sequence = acts[~looks].tobytes()
    at = columns.find(state.browsed_keys, KEY.pack(product))
    if at < 0:
        return
    state.browsed_keys = columns.without(state.browsed_keys, KEY.size, at)
    state.browsed_at = columns.without(state.browsed_at, TIME.size, at)
    state.look_places, state.looks = columns.without_product(
        state.look_places, state.looks, LOOKS.size, at
    )
