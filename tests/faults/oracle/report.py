"""Classes of fault, as in Jepsen's Kafka workload, and how many of each were found."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

EXAMPLES = 10
CLASSES = {
    "lost": "committed, and neither in the state nor in the dead letters",
    "skip": "the state's watermark is past the event, and the state does not hold it",
    "duplicate_state": "in the state more often than in the input",
    "wrong": "counted right, yet times, decayed counts or sums differ; or nobody can read it",
    "stale_at_end": "the last state in the changelog is older than an earlier one",
    "regress": "a state in the changelog is older than one before it",
    "unseen": "not committed, and not arrived either",
    "unanswered": "the shopper's newest list is not that of the newest state",
    "redone_output": "the newest state's list came, but after another"
    " one of its version, which a consumer keeps",
    "missing_output": "a state without its list, or a list without its state (exactly_once)",
    "duplicate_letter": "one record in the dead letters twice",
    "duplicate_output": "one recommendation_id twice",
    "reused_id": "one recommendation_id for two contents",
    "no_reason": "a list of an unknown kind, by a record that is none, or that is no reason for it",
    "shared_version": "an answer with the version of a list before it, which does not know of it",
    "too_soon": "a list refreshed before it was due",
    "overdue": "a list that is due by the newest record of its partition, and was not made again",
    "withdrawn": "a newest list that holds a product which was withdrawn",
    "regress_output": "a list older than one before it, by its version or its trigger",
}
TOLERATED = {
    "at_least_once": (
        "regress",
        "redone_output",
        "missing_output",
        "duplicate_output",
        "regress_output",
    ),
    "exactly_once": (),
}
"""After a crash a list may come again, with the same id; or with another one, made of a popularity
that has moved on. Late writes of a suspended worker are repaired, yet seen."""


@dataclass
class Report:
    """How many of each class, and a few of them in words."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, example: str, count: int = 1) -> None:
        self.counts[name] += count
        if len(self.examples[name]) < EXAMPLES:
            self.examples[name].append(example)

    def clean(self, exactly_once: bool = False) -> bool:
        tolerated = TOLERATED["exactly_once" if exactly_once else "at_least_once"]
        return not any(count for name, count in self.counts.items() if name not in tolerated)
