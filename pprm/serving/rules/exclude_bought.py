"""What was bought lately is not shown again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pprm.serving.rules.kinds import Mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pprm.catalogue.catalogue import Catalogue
    from pprm.state.user_state import UserState

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class ExcludeBought(Mask):
    """Fashion does not repeat, groceries do."""

    exclude_bought_days: Annotated[
        float,
        Field(
            ge=0,
            le=3650,
            description="leave out what was bought within so many"
            " days; groceries repeat, fashion does not",
        ),
    ] = 0.0

    def hidden(
        self, state: "UserState", catalogue: "Catalogue", now: float
    ) -> "NDArray[np.uint64]":
        """See `Mask`."""
        lately = state.product_counters()["last"] > now - self.exclude_bought_days * DAY
        return state.product_keys()[lately]


RULE = ExcludeBought
