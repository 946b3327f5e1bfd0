"""The cost of a training, estimated before it begins.

It follows from counts of the data, and from measured costs of each.

Measured on one idle core by `python -m benchmarks.train` (docs/performance.md, Training), whose
phases are the parts here; another core is as much faster or slower in all of them.
"""

from typing import NamedTuple

import numpy as np

from pprm.core.progress import duration
from pprm.data.dataset import Dataset
from pprm.data.plan import PARTS, Plan
from pprm.ranking.item_regression import MOST_PRODUCTS, MOST_SHOPPERS
from pprm.training.ranking_training import EPOCHS, SERVED

GIB = 2**30
START = 45.0
"""Seconds: imports, BERT's weights, loops compiled, the least number of steps."""
TEXT = 8e-3
EVENT = 14e-6
"""Seconds an event of one replay; there are four replays."""
FIRST_VISIT = 1.5e-3
"""Seconds a visit of retrieval's training: its example, and three passes over it."""
SECOND_VISIT = 5e-4
SCORED = 1.1e-7
"""Seconds a product of a visit, in ranking's examples."""
CANDIDATE = 1.9e-6
"""Seconds a candidate in one pass of ranking's training."""
FLOPS = 6e10
"""Operations a second in the item regression, which is most of the tables."""
JUDGED = 4e-7
"""Seconds a product of a judged visit, by all contenders."""
CANDIDATE_BYTES = 1050
PRODUCT_BYTES = 15_000
BASE_BYTES = 900 << 20
KEPT = 80
"""Candidates of a visit in ranking's examples, where there are as many."""


class Counts(NamedTuple):
    """What the cost hangs on."""

    events: int
    products: int
    candidates: int
    """Products that may be recommended."""
    bought: int
    """Those of them that anybody bought."""
    shoppers: int
    texts: int
    """Texts that BERT has to read."""
    visits: int
    """Visits that retrieval learns from."""
    returning: int
    """Visits that ranking learns from: of shoppers who bought before."""
    judged: int


class Cost(NamedTuple):
    """About what it takes: seconds of one idle core, bytes of memory at the most."""

    seconds: float
    bytes: int


def of(counts: Counts) -> Cost:
    """What training on so much takes."""
    c, examples = counts, counts.returning * (1 + 1 / SERVED)
    rows = examples * min(KEPT, c.candidates)
    shoppers, products = min(c.shoppers, MOST_SHOPPERS), min(c.bought, MOST_PRODUCTS)
    tables = (PARTS - 2) * 2.0 * products * shoppers * (products + shoppers) / FLOPS
    seconds = (
        START + c.texts * TEXT + 4 * c.events * EVENT + c.visits * FIRST_VISIT + tables
        + examples * (SECOND_VISIT + c.candidates * SCORED) + 2 * EPOCHS * rows * CANDIDATE
        + c.judged * c.candidates * JUDGED
    )  # fmt: skip
    return Cost(seconds, int(BASE_BYTES + c.products * PRODUCT_BYTES + rows * CANDIDATE_BYTES))


def returning(dataset: Dataset, visits: np.ndarray) -> int:
    """How many of some visits (numbers) are of shoppers who bought before."""
    users = dataset.user[dataset.visits()[:-1]]
    numbers = np.flatnonzero(dataset.is_basket())
    first = np.full(len(dataset.users), len(users))
    np.minimum.at(first, users[numbers], numbers)
    return int((visits > first[users[visits]]).sum())


def words(counts: Counts, plan: Plan) -> str:
    """The cost as sentences, and what makes it smaller."""
    cost, c = of(counts), counts
    return (
        f"{c.events:,} events of {c.shoppers:,} shoppers, {c.candidates:,} products to"
        f" recommend; learns from {c.returning:,} visits of returning shoppers from"
        f" {_day(plan.begin)} on, judges {c.judged:,} from {_day(plan.chosen)} on.\n"
        f"This takes about {duration(cost.seconds)} of one idle core and {cost.bytes / GIB:.1f}"
        " GiB of memory, most of both for ranking's visits (--visits N learns from that"
        f" many), then the products that may be recommended; {c.texts:,} texts go through BERT."
    )


def _day(seconds: int) -> str:
    return str(np.datetime64(seconds, "s").astype("datetime64[D]"))
