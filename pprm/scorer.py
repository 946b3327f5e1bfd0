"""Recommends: the first stage scores the whole catalogue, the second the best few hundred of it once more.

One thread owns a scorer and its catalogue and popularity.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from pprm import features, slow_tables, user_state
from pprm.candidate_features import CandidateFeatures, Candidates
from pprm.catalogue import Catalogue, Product
from pprm.events import Interaction, Kind, Position
from pprm.features import Groups
from pprm.first_stage import EncodeTexts, FirstStage
from pprm.fold import fold
from pprm.ids import stable_hash
from pprm.model import PPRM
from pprm.popularity import Popularity
from pprm.ranking import NO_RULES, Ranking, Rules, pick, reasons, why
from pprm.second_stage import SecondStage, choose, predict
from pprm.sizes import nbytes
from pprm.slow_tables import SlowTables
from pprm.user_state import DAY, UserState

NOT_A_CANDIDATE = 1000.0
"""Logits by which the second stage's candidates are above all others."""


def choose_device(wanted: str) -> torch.device:
    """`auto` takes the GPU where there is one.

    Raises:
        ValueError: cuda is wanted and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda is wanted, but torch sees no GPU: set device auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(threads: int) -> None:
    """How many CPU threads one call takes, in torch and in numpy's linear algebra, from now on.

    Small matrices on many threads cost more than they save: the threads wait for each other, spinning.
    """
    torch.set_num_threads(threads)
    threadpool_limits(threads)


class Found(NamedTuple):
    """The first stage's candidates for a shopper, K of them."""

    columns: NDArray[np.int64]
    """Among `Scorer.candidates`, ascending."""
    candidates: Candidates
    seen: NDArray[np.bool_]
    """Which the shopper bought before."""


class _Asked(NamedTuple):
    """A shopper to rank the catalogue for, and what the first stage says."""

    number: int
    """Place in the batch."""
    state: UserState
    now: float
    logits: NDArray[np.float32]
    """Of all candidates, [N]; -inf where the rules leave one out."""
    groups: Groups
    popularity: NDArray[np.float32]
    """Of the shopper's day, [N, 4]."""


class Scorer:
    """Both stages of a model, over a catalogue."""

    def __init__(
        self,
        model: PPRM,
        catalogue: Catalogue,
        popularity: Popularity,
        encode: EncodeTexts,
        device: torch.device,
        second: SecondStage | None = None,
        tables: SlowTables | None = None,
    ) -> None:
        self.first = FirstStage(model, catalogue, popularity, encode, device)
        self.second = second.to(device) if second else None
        self.tables = tables or slow_tables.nothing()
        self.model, self.catalogue, self.popularity, self.device = model, catalogue, popularity, device
        self._features = CandidateFeatures(catalogue, popularity)

    @property
    def candidates(self) -> NDArray[np.int64]:
        """Catalogue rows that are scored, [N]: in the order of their hashes, the same in every worker."""
        return self.first.candidates

    def gpu_bytes(self) -> int:
        """GPU memory held by tensors, 0 on the CPU."""
        return torch.cuda.memory_allocated() if self.device.type == "cuda" else 0

    def learned_bytes(self, stages: int = 2) -> int:
        """Bytes of the networks' weights and the tables, as they are held; of the first stage alone (1) or of both."""
        if stages == 1 or self.second is None:
            return nbytes(self.model)
        return nbytes(self.model, self.second) + self.tables.nbytes()

    def score(self, states: Sequence[UserState], nows: Sequence[float]) -> Tensor:
        """Logits of the first stage of all candidates, [len(states), N], at Unix times."""
        out = torch.empty(len(states), len(self.candidates))
        for i, logits, _ in self.first.score(states, nows):
            out[i] = torch.from_numpy(logits)
        return out

    @torch.inference_mode()
    def recommend(
        self, states: Sequence[UserState], nows: Sequence[float], k: int, rules: Rules = NO_RULES
    ) -> list[Ranking]:
        """The k best available products for each shopper, by the shop's rules; equal scores in the order of hashes."""
        rank = self._rank_first if self.second is None else self._rank_second
        rankings = rank(self._ask(states, nows, rules), k, rules) if states else {}
        return [rankings[number] for number in range(len(states))]

    def _ask(self, states: Sequence[UserState], nows: Sequence[float], rules: Rules) -> Iterator[_Asked]:
        for i, logits, groups in self.first.score(states, nows):
            logits = logits.copy()
            lately = states[i].product_counters()["last"] > nows[i] - rules.exclude_bought_days * DAY
            logits[self.first.columns(self.catalogue.rows(states[i].product_keys()[lately]))] = -np.inf
            yield _Asked(i, states[i], nows[i], logits, groups, self.first.daily_popularity)

    def _rank_first(self, asked: Iterator[_Asked], k: int, rules: Rules) -> dict[int, Ranking]:
        rankings = {}
        for one in asked:
            at = pick(one.logits, self.catalogue.type[self.candidates], k, rules)
            rows = self.candidates[at]
            cross = features.dense(one.groups, self.catalogue, rows, one.popularity[at])
            rankings[one.number] = Ranking(rows, _probabilities(one.logits[at]), [reasons(row) for row in cross])
        return rankings

    def _rank_second(self, asked: Iterator[_Asked], k: int, rules: Rules) -> dict[int, Ranking]:
        """All shoppers' candidates together, so that a micro-batch is one call of the networks."""
        assert self.second is not None
        numbers, found, inputs = [], [], []
        for one in asked:  # each is looked at on its own day, before the next one's begins
            candidates = self._find(one.state, one.logits, one.groups).candidates
            numbers.append(one.number)
            found.append(candidates.rows)
            inputs.append(self.candidate_features(one.state, one.now, candidates))
        logits = predict(self.second, np.concatenate(inputs))
        each = np.split(logits, np.cumsum([len(rows) for rows in found])[:-1])
        best = [pick(mine, self.catalogue.type[rows], k, rules) for mine, rows in zip(each, found, strict=True)]
        because = iter(why(self.second, np.concatenate([x[at] for x, at in zip(inputs, best, strict=True)])))
        return {
            number: Ranking(rows[at], _probabilities(mine[at]), [next(because) for _ in at])
            for number, rows, mine, at in zip(numbers, found, each, best, strict=True)
        }

    @torch.inference_mode()
    def rank_scores(self, state: UserState, now: float) -> NDArray[np.float32]:
        """Scores of all candidates, [N], in whose order `recommend` would list them.

        The second stage's logit for those that it sees, and below all of these the first stage's for the others.
        """
        ((_, logits, groups),) = self.first.score([state], [now])
        scores: NDArray[np.float32] = logits.copy()
        if self.second is None:
            return scores
        found = self._find(state, scores, groups)
        scores -= NOT_A_CANDIDATE
        scores[found.columns] = predict(self.second, self.candidate_features(state, now, found.candidates))
        return scores

    @torch.inference_mode()
    def candidates_of(self, state: UserState, now: float) -> Found:
        """What the second stage looks at for a shopper at a Unix time."""
        ((_, logits, groups),) = self.first.score([state], [now])
        return self._find(state, logits, groups)

    def candidate_features(
        self, state: UserState, now: float, candidates: Candidates, keep: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """The second stage's input, see `CandidateFeatures.of`."""
        return self._features.of(state, now, self.tables, candidates, keep)

    def _find(self, state: UserState, values: NDArray[np.float32], groups: Groups) -> Found:
        """The second stage's candidates, by the first's logits [N]; -inf is none."""
        seen = np.zeros(len(values), bool)
        seen[self.first.columns(groups.rows)] = True
        keys, looks = state.looked_at()
        looked = keys[np.argsort(-looks["last"].astype(np.int64), kind="stable")]
        at = choose(values, seen, self.first.columns(self.catalogue.rows(looked)))
        at = at[np.isfinite(values[at])]
        return Found(at, Candidates(self.candidates[at], values[at], groups), seen[at])


def warm_up(scorer: Scorer) -> None:
    """Compile what a list needs, before the first shopper waits for it: one for somebody over two products."""
    catalogue, now = Catalogue(scorer.catalogue.dimensions), 30 * int(DAY)
    products = [Product(name, "", name, "category", "maker") for name in ("a", "b")]
    catalogue.put(products, np.zeros((2, catalogue.dimensions), np.float32))
    bought, looked = stable_hash("a"), stable_hash("b")
    events = [
        Interaction(Position(0, 0, 0), Kind.PURCHASE, bought, now, 1, store=1),
        Interaction(Position(1, 0, 0), Kind.VIEW, looked, now),
    ]
    first, state = scorer.first, user_state.decode(user_state.encode(fold(UserState(), events).state))
    small = Scorer(scorer.model, catalogue, Popularity(), first.encode, scorer.device, scorer.second, scorer.tables)
    small.recommend([state], [now], 1)


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
