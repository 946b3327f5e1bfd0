"""How the fault tests are run: each delivery promise where the broker can keep it.

`PPRM_TEST_FAULTS=full` (`make test-faults`) runs every variant. Otherwise, where there is an Apache
Kafka, a test runs once on each broker if it has two deliveries, else on Apache Kafka only.
"""

from pathlib import Path

import pytest

from tests.faults.harness import FULL
from tests.integration.brokers import has_apache
from tests.integration.shop import Shop

LEFT_TO_THE_FULL_SUITE = {"embedded", "apache-at_least_once"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.faults)
        item.add_marker(pytest.mark.timeout(600))
    if FULL or not has_apache():
        return
    left = [item for item in ours if _variant(item) in LEFT_TO_THE_FULL_SUITE]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


def _variant(item: pytest.Item) -> str:
    """Broker, and delivery where the test has both."""
    values = item.callspec.params if hasattr(item, "callspec") else {}
    return "-".join(values[name] for name in ("broker", "exactly_once") if name in values)


@pytest.fixture(params=["at_least_once", "exactly_once"])
def exactly_once(request: pytest.FixtureRequest, shop: Shop) -> bool:
    """Both promises; transactions on Apache Kafka only."""
    if request.param == "exactly_once" and not shop.is_apache:
        pytest.skip("the embedded broker has no transactions")
    shop.extra["PPRM_DELIVERY"] = request.param
    return bool(request.param == "exactly_once")
