from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.purchases import Purchase
from worker.cli import app as cli
from worker.cli import send, send_options, tail
from worker.cli.commands import messages


def test_compose_makes_what_is_absent():
    message = send.compose("purchases", {"user_id": "u", "product_id": "p"})
    assert message.key == b"u"
    assert (
        Purchase.model_validate_json(message.value).event_id
        == dict(message.headers)["ce_id"].decode()
    )


@pytest.mark.parametrize(
    ("family", "fields", "said"),
    [
        ("purchases", {"user_id": "u"}, "product_id: Field required"),
        ("nothing", {"user_id": "u"}, "choose one of"),
        (
            "purchases",
            {"user_id": "u", "product_id": "p", "occured_at": "x"},
            "no field 'occured_at': is it 'occurred_at'",
        ),
        (
            "browses",
            {"user_id": "u", "product_id": "p", "Action": "view"},
            "no field 'Action': is it 'action'",
        ),
    ],
)
def test_wrong_message_is_refused(family, fields, said):
    with pytest.raises(send.SendError, match=said):
        send.compose(family, fields)


def test_a_field_of_the_shops_own_is_passed_over():
    assert (
        b'"till":7'
        in send.compose("purchases", {"user_id": "u", "product_id": "p", "till": 7}).value
    )


def test_wrong_line_is_named():
    with pytest.raises(send.SendError, match="line 2"):
        send.parse_lines("users", [b'{"user_id":"u"}', b"[]"])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        messages, "_send", lambda family, given, **rest: calls.append((family, given))
    )
    return calls


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.cli, ["send", *arguments])


def test_the_fields_of_an_event_are_options(sent: list[tuple[str, dict[str, Any]]]) -> None:
    assert (
        run(
            "purchases", "--user", "1", "--product-id", "2", "--quantity", "2", "--basket-id", "7"
        ).exit_code
        == 0
    )
    assert (
        run(
            "browses", "--user", "1", "--product", "2", "--action", "view", "--dwell-seconds", "3.5"
        ).exit_code
        == 0
    )
    assert (
        run(
            "products",
            "--product",
            "2",
            "--title",
            "7",
            "--categories",
            '["a"]',
            "--available",
            "false",
        ).exit_code
        == 0
    )
    assert sent == [
        ("purchases", {"user_id": "1", "product_id": "2", "quantity": 2, "basket_id": "7"}),
        ("browses", {"user_id": "1", "product_id": "2", "action": "view", "dwell_seconds": 3.5}),
        ("products", {"product_id": "2", "title": "7", "categories": ["a"], "available": False}),
    ]


def test_every_field_of_every_topic_has_an_option(sent: list[tuple[str, dict[str, Any]]]) -> None:
    for family, model in send.MODELS.items():
        for name in model.model_fields:
            assert run(family, f"--{name.replace('_', '-')}", "1").exit_code == 0, (family, name)
            assert list(sent.pop()[1]) == [name]
    assert "[default" not in run("purchases", "--help").output
    assert "--dwell-seconds" in run("browses", "--help").output


def test_lists_and_maps_are_json_and_words_are_named(
    sent: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert "one of view, search_click, add_to_cart" in run("browses", "--help").output
    assert "one of purchase, return" in run("purchases", "--help").output
    text = run("products", "--help").output
    for example in ("""'["Home", "Kitchen"]'""", """'{"colour": "red"}'""", "'[0.12, -0.03]'"):
        assert f"JSON, e.g. {example}" in text
    wrong = run("products", "--product", "2", "--title", "7", "--categories", "Home")
    assert wrong.exit_code == 2 and "--categories: it takes JSON" in wrong.output and not sent
    assert """'["Home", "Kitchen"]'""" in wrong.output


def test_a_misspelt_option_or_topic_is_refused(sent: list[tuple[str, dict[str, Any]]]) -> None:
    wrong = run(
        "purchases", "--user", "1", "--product", "2", "--occured-at", "2026-03-01T00:00:00Z"
    )
    assert wrong.exit_code == 2 and "--occurred-at" in wrong.output
    assert run("purchase", "--user", "1").exit_code == 2 and not sent


def test_both_names_of_the_broker() -> None:
    for words in (
        "worker",
        "demo",
        "backfill",
        "tail",
        "topics create",
        "topics check",
        "send purchases",
    ):
        assert (
            "--bootstrap-server"
            in CliRunner()
            .invoke(cli.cli, [*words.split(), "--help"], env={"COLUMNS": "200"})
            .output
        )


def test_a_value_is_a_text_or_json() -> None:
    assert send_options.value(Purchase, "user_id", "1") == "1"
    # the schema says that it must be a number
    assert send_options.value(Purchase, "quantity", "two") == "two"


def test_tail_shows_titles() -> None:
    fields = {"value": {"items": [{"product_id": "tea"}, {"product_id": "mug"}]}, "headers": {}}
    assert tail.summary(fields, {"tea": "Green tea"}) == "Green tea (tea), mug"
