"""PPRM in other shapes, for the questions that the paper leaves open.

They show what each part of it is worth.

Variants of retrieval learn from the same examples and are judged alone, beside retrieval as it is.
Variants of ranking learn with a group of features taken away; they share retrieval and its
candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from pprm.catalogue.catalogue import Catalogue
from pprm.catalogue.popularity import Popularity
from pprm.core.arrays import Floats
from pprm.core.sizes import nbytes
from pprm.data.replay import Visit
from pprm.encoders.encoder import Encode
from pprm.evaluation.contenders import AtVisit
from pprm.evaluation.protocol import Contender
from pprm.ranking.candidate_features import COLUMNS
from pprm.ranking.network import RankingNetwork
from pprm.ranking.ranker import Ranker
from pprm.retrieval.features import SCALARS
from pprm.retrieval.model import PPRM, PPRMConfig
from pprm.serving.scorer import NOT_A_CANDIDATE, Scorer
from pprm.training import ranking_training
from pprm.training.fit import fit
from pprm.training.ranking_training import CandidateSet
from pprm.training.training_set import TrainingSet

SENTIMENT = SCALARS.index("sentiment")


@dataclass(frozen=True, slots=True)
class VariantSetup:
    """What all variants of retrieval are made from."""

    config: PPRMConfig
    examples: TrainingSet
    catalogue: Catalogue
    popularity: Popularity
    """Of the replay that judges."""
    profiles: list[str]
    """Texts of the shoppers, in the order of the examples' users."""
    texts: list[str]
    """Texts of the catalogue, by row."""
    encode: Encode
    seed: int


def of_retrieval(
    setup: VariantSetup,
    encoders: dict[str, Encode],
    on_start: Callable[[str], None] = lambda name: None,
) -> tuple[list[Contender], dict[str, float]]:
    """Contenders, and seconds of learning by their names."""
    plain, config = setup.encode, setup.config
    rows = np.random.default_rng(setup.seed).permutation(len(setup.examples.user))
    as_published = replace(
        PPRMConfig.paper(),
        text_dimensions=config.text_dimensions,
        product_dimensions=config.product_dimensions,
    )
    texts_alone = replace(config, sequence=False, pool_days=(), projected=0, product=0)
    made: dict[str, tuple[PPRMConfig, Encode, TrainingSet, bool]] = {
        "paper: both texts, as published": (as_published, plain, setup.examples, True),
        "no interaction sequence": (texts_alone, plain, setup.examples, True),
        "no user attributes": (config, plain, setup.examples, False),
        "hidden 128, 64": (replace(config, hidden=(128, 64)), plain, setup.examples, True),
        "hidden 32": (replace(config, hidden=(32,)), plain, setup.examples, True),
        "hidden 64, 32, 16": (replace(config, hidden=(64, 32, 16)), plain, setup.examples, True),
        **{
            f"{share:.0%} of the training data": (
                config,
                plain,
                part(setup.examples, rows, share),
                True,
            )
            for share in (0.05, 0.2)
        },
        **{
            f"texts by {name}": (_for_texts(config, encode), encode, setup.examples, True)
            for name, encode in encoders.items()
        },
    }
    if np.ptp(setup.examples.scalars[:, SENTIMENT]):
        made["no review sentiment"] = (config, plain, _unread(setup.examples), True)
    contenders: list[Contender] = []
    seconds: dict[str, float] = {}
    for name, (wanted, encode, examples, profiles) in made.items():
        on_start(name)
        title, started = f"first stage, {name}", perf_counter()
        contenders.append(_learned(setup, title, wanted, encode, examples, profiles))
        seconds[title] = perf_counter() - started
    return contenders, seconds


def _learned(
    setup: VariantSetup,
    name: str,
    config: PPRMConfig,
    encode: Encode,
    examples: TrainingSet,
    profiles: bool,
) -> Contender:
    catalogue = (
        setup.catalogue
        if encode is setup.encode
        else setup.catalogue.with_vectors(encode(setup.texts))
    )
    seen = encode if profiles else _nobody(config.text_dimensions)
    model: PPRM = fit(config, examples, catalogue, seen(setup.profiles), setup.seed)
    return AtVisit(
        name, Scorer(model, catalogue, setup.popularity, seen, torch.device("cpu")), ranks=False
    )


def part(examples: TrainingSet, order: NDArray[np.int64], share: float) -> TrainingSet:
    """A share of the examples, the first ones in an order."""
    kept = order[: int(len(order) * share)]
    return TrainingSet(
        *(getattr(examples, name)[kept] for name in TrainingSet.__dataclass_fields__)
    )


def _unread(examples: TrainingSet) -> TrainingSet:
    """Return the examples without the sentiment of reviews.

    An input that never varies gets no say (`fit`).
    """
    scalars = examples.scalars.copy()
    scalars[:, SENTIMENT] = 0
    return replace(examples, scalars=scalars)


def _for_texts(config: PPRMConfig, encode: Encode) -> PPRMConfig:
    dimensions = encode(["a"]).shape[1]
    projected = min(config.projected, dimensions)
    return replace(config, text_dimensions=dimensions, product_dimensions=0, projected=projected)


def _nobody(dimensions: int) -> Encode:
    return lambda texts: np.zeros((len(texts), dimensions), np.float32)


def of_ranking(
    scorer: Scorer,
    data: CandidateSet,
    until: int,
    seed: int,
    on_start: Callable[[str], None] = lambda name: None,
) -> tuple[list[Contender], dict[str, float]]:
    """Learn ranking with all and without each group of features.

    Returns contenders, and seconds of learning by their names.

    Each is one network that learns from a third of the visits: compare them with each other.
    """
    shared, seconds, data = _Shared(scorer), dict[str, float](), _third(data)
    contenders: list[Contender] = []
    for group, columns in {"nothing": slice(0), **COLUMNS}.items():
        if (
            group in COLUMNS
            and not np.ptp(data.features[::7, columns].astype(np.float32), axis=0).any()
        ):
            continue  # browsing, where nobody browses
        name, started = f"second stage, without {group}", perf_counter()
        on_start(name)
        network = ranking_training.fit(data, until, seed, without=columns, members=1)
        contenders.append(_WithoutGroup(name, network, shared))
        seconds[name] = perf_counter() - started
    return contenders, seconds


def _third(data: CandidateSet) -> CandidateSet:
    """Candidates of a third of the visits, by their second."""
    kept = data.bought_at % 3 == 0
    return CandidateSet(*(getattr(data, name)[kept] for name in CandidateSet.__dataclass_fields__))


@dataclass(slots=True)
class _Shared:
    """Retrieval's candidates and features for a visit, made once for all networks."""

    scorer: Scorer
    _number: int = -1
    _made: tuple[NDArray[np.int64], Floats, Floats] = field(
        default=(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
    )

    def of(self, visit: Visit) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Return the candidates' rows and features, and retrieval's scores of all rows."""
        if visit.number != self._number:
            found = self.scorer.candidates_of(visit.before, visit.now)
            first = np.full(len(self.scorer.catalogue), -np.inf, np.float32)
            first[self.scorer.candidates] = self.scorer.score([visit.before], [visit.now])[
                0
            ].numpy()
            inputs = self.scorer.candidate_features(visit.before, visit.now, found.candidates)
            self._number, self._made = visit.number, (found.candidates.rows, inputs, first)
        return self._made


@dataclass(slots=True)
class _WithoutGroup:
    name: str
    network: RankingNetwork
    shared: _Shared

    def learned_bytes(self) -> int:
        """See `protocol.Contender`."""
        return (
            nbytes(self.network)
            + self.shared.scorer.learned_bytes()
            - nbytes(self.shared.scorer.ranking_network)
        )

    def add(self, visit: Visit) -> None:
        """Nothing to keep."""

    def scores(self, visit: Visit) -> Floats:
        rows, inputs, first = self.shared.of(visit)
        scores = first - NOT_A_CANDIDATE
        (scores[rows],) = Ranker(self.network).logits([inputs])
        return scores
