import pytest

from schemas import Purchase
from worker import send


def test_compose_makes_what_is_absent():
    message = send.compose("purchases", {"user_id": "u", "product_id": "p"})
    assert message.key == b"u"
    assert Purchase.model_validate_json(message.value).event_id == dict(message.headers)["ce_id"].decode()


@pytest.mark.parametrize(
    ("family", "said"), [("purchases", "product_id: Field required"), ("nothing", "choose one of")]
)
def test_wrong_message_is_refused(family, said):
    with pytest.raises(send.SendError, match=said):
        send.compose(family, {"user_id": "u"})


def test_wrong_line_is_named():
    with pytest.raises(send.SendError, match="line 2"):
        send.parse_lines("users", [b'{"user_id":"u"}', b"[]"])
