import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

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


def test_a_broker_that_is_away_is_told_once_a_minute_and_not_by_its_client(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = [1000.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    @asynccontextmanager
    async def admin_client(_: Any) -> AsyncIterator[None]:
        if clock[0] < 1125:
            logging.getLogger("aiokafka").error("Unable connect to 127.0.0.1:9")
            raise KafkaConnectionError("nobody is there")
        yield

    monkeypatch.setattr(topics, "admin_client", admin_client)
    monkeypatch.setattr(topics, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(topics, "monotonic", lambda: clock[0])
    asyncio.run(topics.wait_for_broker({}))
    text = caplog.text + capsys.readouterr().out
    assert text.count("is it where kafka.bootstrap_servers says?") == 3
    assert "Unable connect" not in text
