"""What should be in the topics, computed in plain Python from the input alone, and how what is there differs."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pprm import user_state
from pprm.ids import stable_hash


@dataclass
class Expected:
    """A shopper as the input tells it: products with the baskets they were in."""

    baskets_of: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    last: dict[tuple[str, int], int] = field(default_factory=dict)
    """Last offset per topic and partition."""
    browses: int = 0


def expected(inputs: Iterable[Any]) -> dict[bytes, Expected]:
    """Fold purchases and browses independently of the worker."""
    shoppers: dict[bytes, Expected] = defaultdict(Expected)
    for record in inputs:
        shopper, value = shoppers[record.key], json.loads(record.value)
        shopper.last[record.topic, record.partition] = record.offset
        if "action" in value:
            shopper.browses += 1
        else:
            shopper.baskets_of[value["product_id"]].add(value["basket_id"])
    return shoppers


def differences(inputs: Iterable[Any], changelog: Iterable[Any], lists: Iterable[Any]) -> list[str]:
    """Everything that is missing or too much; empty where all is well."""
    wanted = expected(inputs)
    states = {record.key: user_state.decode(record.value) for record in changelog}
    answered: dict[bytes, dict[tuple[str, int], int]] = defaultdict(dict)
    for record in lists:
        trigger = json.loads(record.value)["trigger"]
        where = trigger["topic"], trigger["partition"]
        answered[record.key][where] = max(trigger["offset"], answered[record.key].get(where, -1))
    found = [f"{key!r}: no state" for key in wanted if key not in states]
    for key, shopper in wanted.items():
        if key in states:
            found += _of_state(key, shopper, states[key])
        if not any(answered[key].get(where, -1) == offset for where, offset in shopper.last.items()):
            found.append(f"{key!r}: the last event has no list")
    return found


def _of_state(key: bytes, shopper: Expected, state: user_state.UserState) -> list[str]:
    counts = dict(zip(state.product_keys().tolist(), state.product_counters()["count"].tolist(), strict=True))
    should = {stable_hash(product): len(baskets) for product, baskets in shopper.baskets_of.items()}
    found = []
    for product in should.keys() | counts.keys():
        if (has := counts.get(product, 0)) != (want := should.get(product, 0)):
            found.append(f"{key!r}: product {product} counted {has} times, not {want}")
    browses = int((state.interactions()["kind"] > 0).sum())
    if browses != shopper.browses:
        found.append(f"{key!r}: {browses} browses in the sequence, not {shopper.browses}")
    return found
