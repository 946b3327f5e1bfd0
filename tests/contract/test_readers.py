"""What is promised of everything that reads a topic, wherever in the worker it could be broken."""

import ast
from pathlib import Path

from worker.kafka import reader
from worker.runtime import consumer as faust_side

ROOT = Path(__file__).parents[2]
READERS = {"AIOKafkaConsumer", "Consumer", "KafkaConsumer"}


def made_in(path: Path) -> list[ast.Call]:
    """Consumers that a module makes by itself."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).split(".")[-1] in READERS]


def test_every_consumer_reads_committed_records_only() -> None:
    found = {path: calls for path in (ROOT / "worker").rglob("*.py") if (calls := made_in(path))}
    assert list(found) == [Path(reader.__file__)], (
        "consumers are made by worker.kafka.reader.consumer"
    )
    ((call,),) = found.values()
    options = {option.arg: ast.unparse(option.value) for option in call.keywords}
    assert (
        options["isolation_level"] == "READ_COMMITTED" and reader.READ_COMMITTED == "read_committed"
    )


def test_fausts_consumer_does_too() -> None:
    source = Path(faust_side.__file__).read_text()
    assert "consumer._isolation_level = reader.READ_COMMITTED" in source


def test_a_consumer_made_elsewhere_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import aiokafka\naiokafka.AIOKafkaConsumer()\nconfluent_kafka.Consumer({})"
    )
    assert len(made_in(tmp_path / "a.py")) == 2
