"""Who gets which partitions, by numbers of partitions that operators change."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from worker.runtime.assignor import TableAssignor, together

KEYED = frozenset({"purchases", "browses"})
LOG = "pprm-user_state-changelog"
EVEN = {"purchases": 4, "browses": 4, LOG: 4, "products": 4}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [{"purchases", "browses", LOG}, {"products"}]),
        ({"products": 9}, [{"purchases", "browses", LOG}, {"products"}]),
        ({"browses": 6}, [{"purchases", LOG}, {"products"}]),
        ({"browses": 2}, [{"purchases", LOG}, {"products"}]),
        ({"browses": None}, [{"purchases", LOG}, {"products"}]),
        ({LOG: 6}, [{"products"}]),
        ({LOG: None}, [{"products"}]),
        ({"products": None}, [{"purchases", "browses", LOG}]),
    ],
)
def test_what_goes_together(changes: dict[str, int | None], expected: list[set[str]]) -> None:
    counts = {topic: count for topic, count in (EVEN | changes).items() if count}
    assert together(counts, KEYED, LOG, 4) == expected


def assign(counts: dict[str, int], *members: ClientAssignment) -> list[dict[str, list[int]]]:
    """What members get who had this before."""
    conf = SimpleNamespace(canonical_url="http://x", id="pprm")
    app: Any = SimpleNamespace(
        keyed=KEYED, changelog=LOG, partitions=4, conf=conf, tracer=None,
        tables=SimpleNamespace(data={}, changelog_topics={LOG}),
    )  # fmt: skip
    cluster = SimpleNamespace(
        partitions_for_topic=lambda topic: set(range(counts.get(topic, 0))) or None
    )
    assignor = TableAssignor(app)
    had = {
        f"m{i}": ConsumerProtocolMemberMetadata(
            assignor.version,
            list(EVEN),
            ClientMetadata(
                assignment=before,
                url="http://x",
                changelog_distribution={},
                external_topic_distribution={},
            ).dumps(),
        )
        for i, before in enumerate(members)
    }
    given = assignor._perform_assignment(cluster, had)
    return [
        {topic: sorted(partitions) for topic, partitions in given[member].assignment}
        for member in sorted(given)
    ]


def nothing() -> ClientAssignment:
    return ClientAssignment(actives={}, standbys={})


def test_a_topic_that_grew_is_dealt_out_to_nobody_and_the_others_stay_where_their_states_are() -> (
    None
):
    before = assign(EVEN, nothing(), nothing())
    had = [ClientAssignment(actives=dict(member), standbys={}) for member in before]
    after = assign(EVEN | {"browses": 6}, *had)
    assert all("browses" not in member for member in after)
    assert [member["purchases"] for member in after] == [member["purchases"] for member in before]
    assert all(member["purchases"] == member[LOG] for member in after)
    assert sorted(p for member in after for p in member["purchases"]) == [0, 1, 2, 3]


def test_new_partitions_of_products_are_dealt_out_and_those_that_are_gone_are_nobodys() -> None:
    had = [
        ClientAssignment(actives=dict(member), standbys={})
        for member in assign(EVEN, nothing(), nothing())
    ]
    for count in (9, 3, 1):
        after = assign(EVEN | {"products": count}, *had)
        assert sorted(p for member in after for p in member["products"]) == list(range(count))
