"""Fixtures for tests that need a broker, and which brokers they are run on.

`PPRM_TEST_FAULTS=full` (`make test-faults`) runs every variant. Otherwise, where there is an Apache
Kafka, a test runs once on each broker if it has two deliveries, else on Apache Kafka only.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pprm.serving.scorer import use_threads
from tests.integration.brokers import BROKERS, FULL, has_apache
from tests.integration.shop import Shop

numbers = itertools.count()
use_threads(1)  # as a worker has it: threads of several tests would wait for each other

# The machine may be busy: how long an example takes says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


LEFT_TO_THE_FULL_SUITE = {"embedded", "apache-at_least_once"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if FULL or not has_apache():
        return
    left = [item for item in items if _variant(item) in LEFT_TO_THE_FULL_SUITE]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


def _variant(item: pytest.Item) -> str:
    """Broker, and delivery where the test has both."""
    values = item.callspec.params if hasattr(item, "callspec") else {}
    return "-".join(values[name] for name in ("broker", "exactly_once") if name in values)


@pytest.fixture(scope="session", params=list(BROKERS))
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """host:port of a broker.

    Each test runs on the embedded one and, where it is there, on Apache Kafka.
    """
    if request.param == "apache" and not has_apache():
        pytest.skip("PPRM_TEST_KAFKA names no Apache Kafka")
    with BROKERS[request.param](tmp_path_factory.mktemp(request.param)) as address:
        apaches.update({address} if request.param == "apache" else ())
        yield address


apaches: set[str] = set()
"""Addresses of brokers that are Apache Kafka."""


@pytest.fixture
def shop(broker: str, tmp_path: Path) -> Iterator[Shop]:
    """A shop of the test's own on a broker; its workers are ended with the test."""
    shop = Shop(broker, f"shop-{next(numbers)}", tmp_path, is_apache=broker in apaches)
    try:
        yield shop
    finally:
        shop.stop()
