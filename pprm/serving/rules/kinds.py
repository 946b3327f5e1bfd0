"""The two kinds of rules.

The settings are read from the rules, and commands that need settings start without numpy: rules
import it where they use it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pprm.catalogue.catalogue import Catalogue
    from pprm.state.user_state import UserState


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as a shop has set it."""

    @property
    def applies(self) -> bool:
        """Whether its settings ask for anything."""
        return True


@dataclass(frozen=True, slots=True)
class Mask(Rule, ABC):
    """Says what a shopper must not be shown."""

    @abstractmethod
    def hidden(
        self, state: "UserState", catalogue: "Catalogue", now: float
    ) -> "NDArray[np.uint64]":
        """Return the hashes of the products, known or not, at Unix time `now`."""


@dataclass(frozen=True, slots=True)
class Pick(Rule, ABC):
    """Says what stays of the products, best first."""

    @abstractmethod
    def kept(self, codes: "NDArray[np.int32]") -> "NDArray[np.bool_]":
        """Return which stay, [n]; `codes` [n, 3] are type, category, maker (`Catalogue.codes`)."""
