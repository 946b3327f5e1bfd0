import pytest

from worker import topics
from worker.settings import Settings


def test_plan_has_one_changelog_that_is_never_deleted():
    (changelog,) = [s for s in topics.plan(Settings()) if s.name == "pprm-user_state-changelog"]
    assert changelog.config == {"cleanup.policy": "compact", "min.compaction.lag.ms": "3600000"}


def test_equal_partitions_pass():
    topics.require_equal({"purchases": 4, "users": 4})


@pytest.mark.parametrize(
    ("counts", "said"), [({"a": 4, "b": 2}, "a has 4, b has 2"), ({"a": 4, "b": 0}, "not exist: b")]
)
def test_unequal_or_missing_topics_are_refused(counts, said):
    with pytest.raises(topics.TopicsError, match=said):
        topics.require_equal(counts)
