"""A list has so many products of one type at most, so that it is not ten kinds of yogurt."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pprm.catalogue.codes import TYPE_CODE
from pprm.serving.rules.kinds import Pick

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MostOfAType(Pick):
    """The best ones of each type stay."""

    most_of_a_type: Annotated[
        int | None,
        Field(
            ge=1,
            le=100,
            description="products of one type per list at most: a more diverse list",
        ),
    ] = None

    @property
    def applies(self) -> bool:
        """See `Rule`."""
        return self.most_of_a_type is not None

    def kept(self, codes: "NDArray[np.int32]") -> "NDArray[np.bool_]":
        """See `Pick`."""
        assert self.most_of_a_type is not None
        return _better_of_the_same(codes[:, TYPE_CODE]) < self.most_of_a_type


def _better_of_the_same(types: "NDArray[np.int32]") -> "NDArray[np.int64]":
    """How many of the same type come before each."""
    import numpy as np

    order = np.argsort(types, kind="stable")
    sorted_ = types[order]
    begins = np.r_[0, np.flatnonzero(np.diff(sorted_)) + 1]
    before = np.empty(len(types), np.int64)
    before[order] = np.arange(len(types)) - np.repeat(begins, np.diff(np.r_[begins, len(types)]))
    return before


RULE = MostOfAType
