import pytest

from worker.kafka import topics
from worker.settings import Settings


def test_plan_has_one_changelog_that_is_never_deleted():
    (changelog,) = [s for s in topics.plan(Settings()) if s.name == "pprm-user_state-changelog"]
    assert changelog.config == {"cleanup.policy": "compact", "min.compaction.lag.ms": "3600000"}


def test_equal_partitions_pass():
    topics.require_equal({"purchases": 4, "users": 4})


def test_unequal_topics_are_refused():
    with pytest.raises(topics.TopicsError, match=r"a has 4, b has 2.*pprm repartition"):
        topics.require_equal({"a": 4, "b": 2})
