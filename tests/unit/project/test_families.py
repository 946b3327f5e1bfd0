"""The families are listed in one place; what must know them without importing it agrees."""

from pprm.core.events import SLOTS, SOURCES
from schemas.families import EVENTS, FAMILIES, READ, USER_KEYED
from tests.faults.oracle import state as oracle
from worker.kafka import topics
from worker.settings import Topics, load

SHAPE = {"prefix", "partitions", "partitioner", "replication"}


def test_states_number_the_user_keyed_topics_in_their_order() -> None:
    assert USER_KEYED == SOURCES == oracle.FAMILIES and len(SOURCES) <= SLOTS == oracle.SLOTS


def test_settings_name_each_topic() -> None:
    defaults = {
        name: field.default for name, field in Topics.model_fields.items() if name not in SHAPE
    }
    assert defaults == {family.name: family.topic for family in FAMILIES.values()}


def test_what_is_planned_is_every_family_and_the_workers_own() -> None:
    settings = load()
    own = {settings.changelog, settings.rekeyed_topic, settings.popularity_topic}
    assert {spec.name for spec in topics.plan(settings)} == {
        family.topic for family in FAMILIES.values()
    } | own


def test_events_are_what_shoppers_did_and_products_are_of_nobody() -> None:
    assert set(USER_KEYED) - set(EVENTS) == {"users", "requests"}
    assert set(READ) - set(USER_KEYED) == {"products"}
