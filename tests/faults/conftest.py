"""How the fault tests are run: each delivery promise where the broker can keep it."""

from pathlib import Path

import pytest

from tests.integration.shop import Shop


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(params=["at_least_once", "exactly_once"])
def exactly_once(request: pytest.FixtureRequest, shop: Shop) -> bool:
    """Both promises; transactions on Apache Kafka only."""
    if request.param == "exactly_once" and not shop.is_apache:
        pytest.skip("the embedded broker has no transactions")
    shop.extra["PPRM_DELIVERY"] = request.param
    return bool(request.param == "exactly_once")
