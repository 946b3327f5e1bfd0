"""What lists say of why a product is in them.

How often each reason is given, and `bought_before` of what was.

`python -m benchmarks.reasons [MODEL] [--dataset NAME --file FILE ...] [--lists 400] [--quick]
[--report FILE]`. Lists are those that a model makes at visits of the data's test period, replayed
from the beginning. Without a dataset: the bundled model on 250 of the bundled households (25 with
--quick).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from pprm.catalogue.popularity import Popularity
from pprm.data import complete_journey, plan
from pprm.data.dataset import Dataset
from pprm.data.replay import replay
from pprm.data.source import Source, read
from pprm.evaluation import protocol
from pprm.serving import artifact
from pprm.serving.artifact import Artifact
from pprm.serving.scorer import choose_device, use_threads
from pprm.serving.selection import Ranking
from pprm.training import train
from worker.settings import Model

HOUSEHOLDS, QUICK_HOUSEHOLDS = 250, 25


def main() -> None:
    use_threads(1)
    parser = measure.parser(__doc__)
    parser.add_argument(
        "model", nargs="?", type=Path, default=Model().directory, help="artifact of the data's shop"
    )
    parser.add_argument("--dataset", help="see docs/data.md")
    parser.add_argument(
        "--file", type=Path, action="append", default=[], help="of the dataset; once for each"
    )
    parser.add_argument("--lists", type=int, default=400)
    chosen = parser.parse_args()
    if chosen.dataset:
        data = read(Source(chosen.dataset, tuple(chosen.file)))
    else:
        households = QUICK_HOUSEHOLDS if chosen.quick else HOUSEHOLDS
        data = complete_journey.load(complete_journey.household_ids()[:households])
    found = shares(lists(artifact.load(chosen.model), data, chosen.lists))
    show(data.name, found)
    measure.write(
        chosen.report, {"environment": measure.environment(), "dataset": data.name, **found}
    )


def lists(made: Artifact, data: Dataset, most: int) -> Iterator[tuple[Ranking, list[bool]]]:
    """Make lists at visits of the test period; also which products were bought before."""
    texts, popularity, split = made.encoder(None), Popularity(), plan.of(data).test
    catalogue = train.make_catalogue(data, texts)
    scorer = made.scorer(catalogue, popularity, texts.encode, choose_device("cpu"))
    judged = list(protocol.queries(data, catalogue.available, {"test": split}))
    wanted = set(np.random.default_rng(0).permutation(judged)[:most].tolist())
    for visit in replay(data, catalogue, popularity, split.end):
        if visit.number in wanted:
            (ranking,) = scorer.recommend([visit.before], [visit.now], 10)
            yield (
                ranking,
                np.isin(catalogue.hashes[ranking.rows], visit.before.product_keys()).tolist(),
            )


def shares(made: Iterable[tuple[Ranking, list[bool]]]) -> dict[str, Any]:
    """Return the shares of reasons among all items, and among the shopper's own products."""
    counts, count, own, own_said, silent = Counter[str](), 0, 0, 0, 0
    for ranking, bought in made:
        for reasons, is_own in zip(ranking.reasons, bought, strict=True):
            counts.update(reasons)
            count, own, silent = count + 1, own + is_own, silent + (not reasons)
            own_said += is_own and "bought_before" in reasons
    return {
        "items": count,
        "own": own / max(count, 1),
        "own_said_bought_before": own_said / max(own, 1),
        "without_a_reason": silent / max(count, 1),
        "reasons": {reason: times / max(count, 1) for reason, times in counts.most_common()},
    }


def show(name: str, found: dict[str, Any]) -> None:
    """As a table."""
    named = {
        "own products": found["own"],
        "of these `bought_before`": found["own_said_bought_before"],
        **found["reasons"],
        "no reason": found["without_a_reason"],
    }
    rows = [(what, f"{share:.3f}") for what, share in named.items()]
    measure.show(f"{name}: shares of {found['items']:,} items", ("", "share"), rows)


if __name__ == "__main__":
    main()
