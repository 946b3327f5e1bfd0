"""Texts and other things to vectors.

A module here that has a `NAME` is an encoder. Its `learn` makes one for a shop. It is imported when
it is wanted: some need packages that take seconds.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from pprm.core import named_modules

if TYPE_CHECKING:
    from pprm.encoders.encoder import Encoder


class EncoderModule(NamedTuple):
    """A kind of encoder."""

    name: str
    module: str

    def learn(self, texts: Iterable[str], seed: int) -> "Encoder":
        """Make one that has seen all the texts of a shop."""
        made: Encoder = import_module(f"{__name__}.{self.module}").learn(texts, seed)
        return made


ENCODERS: Mapping[str, EncoderModule] = named_modules.Modules(
    __name__, lambda found: EncoderModule(found.name, found.module)
)
"""By name, looked for anew each time."""
