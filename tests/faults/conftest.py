"""How the fault tests are run: each delivery promise where the broker can keep it."""

from pathlib import Path

import pytest

from tests.integration.shop import Shop

LEFT_OPEN = (
    "Exception ignored in. <function (AIOKafkaConnection|StreamWriter|_SelectorTransport).__del__",
    "Exception ignored in. <socket.socket",
)
"""What Python says of a connection that nobody closed.

aiokafka leaves one open in the test's own process where its client is closed while it connects to
a broker that is slow, or was killed: whichever test runs next would fail.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.timeout(600))
            for message in LEFT_OPEN:
                ignored = f"ignore:{message}:pytest.PytestUnraisableExceptionWarning"
                item.add_marker(pytest.mark.filterwarnings(ignored))


@pytest.fixture(params=["at_least_once", "exactly_once"])
def exactly_once(request: pytest.FixtureRequest, shop: Shop) -> bool:
    """Both promises; transactions on Apache Kafka only."""
    if request.param == "exactly_once" and not shop.is_apache:
        pytest.skip("the embedded broker has no transactions")
    shop.extra["PPRM_DELIVERY"] = request.param
    return bool(request.param == "exactly_once")
