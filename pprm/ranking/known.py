"""What a feature group may read: all that is known before a shopper's list is made."""

from typing import NamedTuple

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.retrieval.candidates import Candidates
from pprm.state.user_state import UserState


class Known(NamedTuple):
    """Of one shopper and the K candidates for the list."""

    state: UserState
    now: float
    """Unix seconds."""
    catalogue: Catalogue
    counts: Popularity
    candidates: Candidates
