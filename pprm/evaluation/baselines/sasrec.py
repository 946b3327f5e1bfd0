"""SASRec: self-attention over the sequence of the last purchases predicts the next one.

Kang, McAuley, "Self-attentive sequential recommendation" (ICDM 2018), with a sampled softmax
instead of one negative per place (Klenitskiy, Vasilev, "Turning dross into gold loss", RecSys 2023:
it needs far fewer steps). The purchases of a basket have no order: they are shuffled, lest the
network learns the order of the product numbers.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.core.sizes import nbytes
from pprm.data.dataset import Dataset
from pprm.data.replay import Visit
from pprm.evaluation.baselines.baseline import purchases_before, single_thread

if TYPE_CHECKING:
    from pprm.evaluation.baselines.sasrec_network import SasRecNetwork


@dataclass(slots=True)
class SasRec:
    """Knows the available products only; the others are left out of the sequences."""

    width: int = 64
    blocks: int = 2
    length: int = 50
    steps: int = 1200
    batch: int = 128
    learning_rate: float = 3e-3
    seed: int = 0
    _codes: NDArray[np.int64] = field(init=False, repr=False)
    """Of each row of the catalogue, 0 where it is not available."""
    _network: "SasRecNetwork" = field(init=False, repr=False)
    _recent: dict[int, deque[int]] = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """See `Baseline`."""
        return (
            f"SASRec d{self.width} L{self.length} lr{self.learning_rate:g},"
            f" {self.steps} steps of {self.batch}"
        )

    def learn(self, dataset: Dataset, catalogue: Catalogue, until: int) -> None:
        """Train the network."""
        import torch

        from pprm.evaluation.baselines.sasrec_network import SasRecNetwork, fit

        self._codes = np.where(catalogue.available, np.cumsum(catalogue.available), 0)
        self._recent = defaultdict(lambda: deque(maxlen=self.length))
        sequences = self._sequences(dataset, until)
        with single_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._network = SasRecNetwork(
                int(self._codes.max()), self.width, self.blocks, self.length
            )
            fit(self._network, sequences, self.steps, self.batch, self.learning_rate, self.seed)

    def learned_bytes(self) -> int:
        """See `Baseline`."""
        return nbytes(self._network)

    def add(self, visit: Visit) -> None:
        """Append a basket to the shopper's sequence."""
        codes = self._codes[visit.products]
        self._recent[visit.user].extend(codes[codes > 0].tolist())

    def scores(self, visit: Visit) -> NDArray[np.float32]:
        """Scores of what comes next; all equal for a shopper without purchases."""
        out = np.where(self._codes > 0, 0, -np.inf).astype(np.float32)
        if recent := self._recent[visit.user]:
            out[self._codes > 0] = self._network.scores(recent)
        return out

    def _sequences(self, dataset: Dataset, until: int) -> list[NDArray[np.int64]]:
        """Codes of each shopper's purchases in time order."""
        bought = purchases_before(dataset, until)
        codes = self._codes[bought.product]
        basket = np.cumsum(np.diff(bought.basket, prepend=-1) != 0)
        shuffled = np.random.default_rng(self.seed).random(len(codes))
        order = np.lexsort((shuffled, basket, bought.user))
        order = order[codes[order] > 0]
        cuts = np.flatnonzero(np.diff(bought.user[order])) + 1
        return [sequence for sequence in np.split(codes[order], cuts) if len(sequence) > 1]
