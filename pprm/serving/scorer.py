"""Recommends products: retrieval, then ranking.

Retrieval scores the whole catalogue, ranking the best few hundred of it once more.

One thread owns a scorer and its catalogue and popularity.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from pprm.catalogue.catalogue import Catalogue, Product
from pprm.catalogue.popularity import Popularity
from pprm.core.ahead import compile_ahead
from pprm.core.errors import Foreseen
from pprm.core.events import Interaction, Kind, Position
from pprm.core.ids import stable_hash
from pprm.core.sizes import nbytes
from pprm.ranking import slow_tables
from pprm.ranking.candidate_features import CandidateFeatures
from pprm.ranking.network import RankingNetwork
from pprm.ranking.ranker import Ranker
from pprm.ranking.slow_tables import SlowTables
from pprm.retrieval import features
from pprm.retrieval.candidates import Candidates
from pprm.retrieval.model import PPRM
from pprm.retrieval.retriever import EncodeTexts, Retrieved, Retriever
from pprm.serving.reasons import facts, rarity, reasons, why
from pprm.serving.rules import NO_RULES, Rules
from pprm.serving.selection import Ranking, pick
from pprm.state import user_state
from pprm.state.fold import fold
from pprm.state.user_state import DAY, UserState

NOT_A_CANDIDATE = 1000.0
"""Subtracted from the logits of products that are not ranked, so that they come last."""
MOST_LOGIT = 700.0
"""Above this, e to the logit is more than a number holds."""
NOTHING = np.zeros(0, np.int64)


class DeviceError(Foreseen, ValueError):
    """The device wanted is not there."""


def choose_device(wanted: str) -> torch.device:
    """Choose a device; `auto` takes the GPU where there is one.

    Raises:
        DeviceError: cuda is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device cuda is wanted, but torch sees no GPU: set device auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(threads: int) -> None:
    """Set how many CPU threads one call takes, in torch and in numpy's linear algebra.

    Small matrices on many threads cost more than they save: the threads wait for each other,
    spinning.
    """
    torch.set_num_threads(threads)
    threadpool_limits(threads)


class _Asked(NamedTuple):
    """A micro-batch of shoppers to rank the catalogue for."""

    states: Sequence[UserState]
    nows: Sequence[float]
    excluded: Sequence[NDArray[np.int64]]
    """Catalogue rows that rules or shopper exclude, for each shopper; -1: unknown product."""
    k: int
    rules: Rules


class Scorer:
    """Scores with a model's retrieval and ranking, over a catalogue."""

    def __init__(
        self,
        model: PPRM,
        catalogue: Catalogue,
        popularity: Popularity,
        encode: EncodeTexts,
        device: torch.device,
        ranking_network: RankingNetwork | None = None,
        tables: SlowTables | None = None,
    ) -> None:
        self.retriever = Retriever(model, catalogue, popularity, encode, device)
        self.ranking_network = ranking_network.to(device) if ranking_network else None
        self.tables = tables or slow_tables.nothing()
        self.model, self.catalogue, self.popularity, self.device = (
            model,
            catalogue,
            popularity,
            device,
        )
        self._features = CandidateFeatures(catalogue, popularity)
        self._ranker = Ranker(self.ranking_network) if self.ranking_network else None
        self._not_finite = 0

    @property
    def not_finite(self) -> int:
        """Scores so far that were no finite number.

        Each cost a product its place in a list, or in all of them.
        """
        return self._not_finite + self.retriever.not_finite

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Catalogue rows that are scored, [N].

        In the order of their hashes, the same in every worker.
        """
        return self.retriever.candidates

    def gpu_bytes(self) -> int:
        """GPU memory held by tensors, 0 on the CPU."""
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    def learned_bytes(self, *, ranks: bool = True) -> int:
        """Bytes of the networks' weights and the tables, as they are held.

        Of retrieval and ranking, or without `ranks` of retrieval alone.
        """
        if not ranks or self.ranking_network is None:
            return nbytes(self.model)
        return nbytes(self.model, self.ranking_network) + self.tables.nbytes()

    def score(self, states: Sequence[UserState], nows: Sequence[float]) -> Tensor:
        """Retrieval's logits of all candidates, [len(states), N], at Unix times."""
        out = torch.empty(len(states), len(self.candidates))
        for i, logits, _ in self.retriever.score(states, nows):
            out[i] = torch.from_numpy(logits)
        return out

    @torch.inference_mode()
    def recommend(
        self, states: Sequence[UserState], nows: Sequence[float], k: int, rules: Rules = NO_RULES
    ) -> list[Ranking]:
        """Return the k best available products for each shopper, by the shop's rules.

        Equal scores are in the order of hashes.
        """
        left_out = [
            self._left_out(state, now, rules) for state, now in zip(states, nows, strict=True)
        ]
        rank = self._rank_candidates if self._ranker else self._rank_catalogue
        rankings = rank(_Asked(states, nows, left_out, k, rules)) if states else {}
        return [rankings[number] for number in range(len(states))]

    def _left_out(self, state: UserState, now: float, rules: Rules) -> NDArray[np.int64]:
        """See `_Asked.excluded`."""
        masked = [mask.hidden(state, self.catalogue, now) for mask in rules.masks]
        return self.catalogue.rows(np.concatenate([*masked, state.hidden_products()]))

    def _rank_catalogue(self, asked: _Asked) -> dict[int, Ranking]:
        rankings = {}
        for number, logits, groups in self.retriever.score(asked.states, asked.nows):
            logits = logits.copy()
            logits[self.retriever.columns(asked.excluded[number])] = -np.inf
            rows, picks = self.candidates, asked.rules.picks
            at = pick(logits, rows, self.catalogue.codes, asked.k, picks)
            rows = rows[at]
            popularity = self.retriever.daily_popularity[at]
            cross = features.dense(groups, self.catalogue, rows, popularity)
            because = [reasons(row, self.retriever.popular) for row in cross]
            rankings[number] = Ranking(rows, _probabilities(logits[at]), because)
        return rankings

    def _rank_candidates(self, asked: _Asked) -> dict[int, Ranking]:
        assert self._ranker is not None
        numbers, found, inputs, true = [], [], [], []
        for number, (_, candidates, _) in self.retriever.retrieve(
            asked.states, asked.nows, asked.excluded
        ):
            numbers.append(number)
            # each is looked at on its own day, before the next one's begins
            found.append(candidates.rows)
            inputs.append(
                self.candidate_features(asked.states[number], asked.nows[number], candidates)
            )
            true.append(facts(inputs[-1], self.retriever.popular))
        each, codes = self._ranker.logits(inputs), self.catalogue.codes
        self._not_finite += sum(int(np.count_nonzero(~np.isfinite(mine))) for mine in each)
        best = [
            pick(mine, rows, codes, asked.k, asked.rules.picks)
            for mine, rows in zip(each, found, strict=True)
        ]
        weights = np.concatenate(
            [mine[at] * rarity(mine) for mine, at in zip(true, best, strict=True)]
        )
        because = iter(
            why(
                self._ranker,
                np.concatenate([x[at] for x, at in zip(inputs, best, strict=True)]),
                weights,
            )
        )
        return {
            number: Ranking(rows[at], _probabilities(mine[at]), [next(because) for _ in at])
            for number, rows, mine, at in zip(numbers, found, each, best, strict=True)
        }

    @torch.inference_mode()
    def rank_scores(self, state: UserState, now: float) -> NDArray[np.float32]:
        """Score all candidates, [N], in whose order `recommend` would list them.

        Ranking's logit for those that it sees, and below all of these retrieval's
        for the others.
        """
        ((_, logits, groups),) = self.retriever.score([state], [now])
        scores: NDArray[np.float32] = logits.copy()
        scores[self.retriever.columns(self.catalogue.rows(state.hidden_products()))] = -np.inf
        if self._ranker is None:
            return scores
        found = self.retriever.find(state, scores, groups)
        scores -= NOT_A_CANDIDATE
        (scores[found.columns],) = self._ranker.logits(
            [self.candidate_features(state, now, found.candidates)]
        )
        return scores

    @torch.inference_mode()
    def candidates_of(self, state: UserState, now: float) -> Retrieved:
        """What ranking looks at for a shopper at a Unix time."""
        ((_, found),) = self.retriever.retrieve([state], [now], [NOTHING])
        return found

    def candidate_features(
        self,
        state: UserState,
        now: float,
        candidates: Candidates,
        keep: NDArray[np.int64] | None = None,
    ) -> NDArray[np.float32]:
        """What ranking reads, see `CandidateFeatures.of`."""
        return self._features.of(state, now, self.tables, candidates, keep)


def warm_up(scorer: Scorer) -> None:
    """Compile what a list needs, before the first shopper waits for it."""
    compile_ahead(partial(_make_lists, scorer))


def _make_lists(scorer: Scorer) -> None:
    """Make a list of two products, in both ways through a catalogue."""
    catalogue, now = Catalogue(scorer.catalogue.dimensions), 30 * int(DAY)
    products = [Product(name, "", name, "category", "maker") for name in ("a", "b")]
    catalogue.put(products, np.zeros((2, catalogue.dimensions), np.float32))
    bought, looked = stable_hash("a"), stable_hash("b")
    events = [
        Interaction(Position(0, 0, 0), Kind.PURCHASE, bought, now, 1, store=1),
        Interaction(Position(1, 0, 0), Kind.VIEW, looked, now),
    ]
    state = user_state.decode(user_state.encode(fold(UserState(), events).state))
    for large in (len(products), 0):
        small = Scorer(
            scorer.model,
            catalogue,
            Popularity(),
            scorer.retriever.encode,
            scorer.device,
            scorer.ranking_network,
            scorer.tables,
        )
        small.retriever.large = large
        small.recommend([state], [now], 1)


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -MOST_LOGIT, MOST_LOGIT)))).astype(
        np.float32
    )
