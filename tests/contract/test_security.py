"""The promises about input, pickle, HTTP and rights, wherever they could be broken."""

import ast
import ipaddress
import json
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.limits import MAX_ID_BYTES
from worker.kafka import acls, topics
from worker.ops import http, metrics
from worker.ops.health import Health
from worker.pipeline import codec
from worker.settings import load

ROOT = Path(__file__).parents[2]
OURS = ("worker", "pprm", "schemas", "deploy", "benchmarks", "tests")
SOURCES = sorted(chain.from_iterable((ROOT / folder).rglob("*.py") for folder in OURS))
ARTIFACTS = sorted(path for path in (ROOT / "pprm" / "artifacts").rglob("*") if path.is_file())

UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "jsonpickle",
}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "torch.load",
    "torch.hub.load",
    "yaml.load",
    "yaml.unsafe_load",
    "pd.read_pickle",
}
UNSAFE_ARGUMENTS = {"allow_pickle", "trust_remote_code", "shell"}
PICKLE_OR_ZIP = re.compile(
    rb"\x80[\x02-\x05]|PK\x03\x04|\x93NUMPY|cposix|csys|c__builtin__|cbuiltins"
)


def unsafe(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                alias.name for alias in node.names if alias.name.split(".")[0] in UNSAFE_MODULES
            )
        elif (
            isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES
        ):
            yield str(node.module)
        elif isinstance(node, ast.Call):
            if (name := ast.unparse(node.func)) in UNSAFE_CALLS:
                yield name
            for argument in node.keywords:
                if argument.arg in UNSAFE_ARGUMENTS and ast.unparse(argument.value) != "False":
                    yield str(argument.arg)


def test_no_source_unpickles_or_evaluates_anything() -> None:
    found = {str(path): list(unsafe(ast.parse(path.read_text()))) for path in SOURCES}
    assert len(found) > 100 and not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(x)",
        "eval(x)",
        "np.load(x, allow_pickle=True)",
    ],
)
def test_what_is_looked_for_is_found(line: str) -> None:
    assert list(unsafe(ast.parse(line)))


def test_artifacts_hold_no_code() -> None:
    assert ARTIFACTS
    for path in ARTIFACTS:
        assert path.suffix in (".json", ".md", ".safetensors") or path.name == "SHA256SUMS", path
        with path.open("rb") as file:
            start = file.read(8)
            assert not PICKLE_OR_ZIP.match(start), path
            if path.suffix == ".safetensors":
                header = json.loads(file.read(int.from_bytes(start, "little")))
                assert {
                    tensor["dtype"] for name, tensor in header.items() if name != "__metadata__"
                } <= {
                    "F16",
                    "F32",
                    "I32",
                    "U64",
                }


def test_the_store_keeps_raw_bytes() -> None:
    """Faust opens RocksDB in raw mode; without it rocksdict would unpickle what it reads."""
    source = Path(str(import_module("faust.stores.rocksdb").__file__)).read_text()
    assert "raw_mode=True" in source
    ours = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == "worker"]
    assert not [path for path in ours if re.search(r"Rdict\((?!.*raw_mode)", path.read_text())]


NOW = 1_767_323_045.0
DIMENSIONS = 3
EVENT = {"event_id": "e", "user_id": "u", "product_id": "p", "occurred_at": "2026-01-02T03:04:05Z"}


def decoded(family: str, value: bytes, key: bytes = b"u") -> Any:
    record = SimpleNamespace(
        topic="t",
        partition=1,
        offset=7,
        timestamp=1_767_323_045_000,
        key=key,
        value=value,
        headers=(),
    )
    return (
        codec.decode_product(record, DIMENSIONS)
        if family == "products"
        else codec.decode(family, record, NOW)
    )


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("oversize", json.dumps(EVENT).encode().ljust(codec.MAX_VALUE_BYTES + 1)),
        ("depth", b'{"x":' * 300 + b"1" + b"}" * 300),
        ("json", b""),
        ("json", b"[1,"),
        *(
            ("schema", json.dumps(EVENT | changes).encode())
            for changes in (
                {"user_id": 2**63}, {"user_id": 2**64}, {"user_id": -1}, {"user_id": 1e300},
                {"product_id": 2**64},
                {"event_id": True}, {"product_id": ["p"]}, {"product_id": {}}, {"product_id": None},
                {"product_id": ""}, {"product_id": "p" * (MAX_ID_BYTES + 1)},
                {"product_id": "ä" * 65},
                {"quantity": 2**64}, {"quantity": 10**400}, {"quantity": -(10**400)},
                {"price": 1e308},
                {"quantity": float("inf")}, {"quantity": "2"}, {"price": float("nan")},
                {"occurred_at": 2**64}, {"occurred_at": 1_767_323_045},
                {"occurred_at": "2026-01-02T03:04:05"},
                {"occurred_at": "1999-12-31T23:59:59Z"}, {"occurred_at": "2100-01-01T00:00:00Z"},
                {"occurred_at": "99999-01-01T00:00:00Z"}, {"occurred_at": "yesterday"},
                {"attributes": {"a": ["b"]}}, {"attributes": {"a": {}}},
                {"attributes": [["a", "b"]]},
            )
        ),
    ],
)  # fmt: skip
def test_input_is_bounded(reason: str, value: bytes) -> None:
    said = decoded("purchases", value)
    assert isinstance(said, codec.Invalid) and said.reason == reason


def test_a_number_beyond_64_bits_is_never_an_id() -> None:
    """orjson would make a float of it, and two shoppers one."""
    for number in (2**63, 2**64, 2**64 + 1):
        said = decoded("users", json.dumps({"user_id": number}).encode(), str(number).encode())
        assert isinstance(said, codec.Invalid) and said.reason == "schema"
        as_text = decoded(
            "users", json.dumps({"user_id": str(number)}).encode(), str(number).encode()
        )
        assert as_text.user_id == str(number)


def test_a_product_is_bounded() -> None:
    for changes in ({"promotions": [{}] * 1001}, {"vector": [0.5] * 4097}, {"categories": [["c"]]}):
        said = decoded("products", json.dumps({"product_id": "u", "title": "t"} | changes).encode())
        assert isinstance(said, codec.Invalid) and said.reason == "schema"
    many = {str(i): "b" * 600 for i in range(99)} | {"a" * 99: "c"}
    long = {
        "title": "t" * 600,
        "description": "d" * 9000,
        "categories": ["c" * 600] * 9,
        "attributes": many,
    }
    _, product = decoded("products", json.dumps({"product_id": "u"} | long).encode())
    assert len(product.text) < 512 + 8192 + 8 * 514 + 32 * (64 + 512 + 4)


def test_refusals_do_not_repeat_the_data() -> None:
    for changes in (
        {"price": "4711-secret"},
        {"occurred_at": "4711-secret"},
        {"attributes": "4711-secret"},
    ):
        said = decoded("purchases", json.dumps(EVENT | changes).encode())
        assert isinstance(said, codec.Invalid) and "4711" not in said.detail


def test_http_is_on_loopback_unless_asked() -> None:
    assert ipaddress.ip_address(load().http.host).is_loopback


def test_http_has_metrics_and_probes_and_nothing_about_a_user() -> None:
    assert set(http.pages_of(metrics.renderer(metrics.create()), Health())) == {
        "/metrics",
        "/live",
        "/ready",
    }


def test_fausts_own_pages_are_off(tmp_path: Path) -> None:
    from worker.app import create_app

    app = create_app(load({"state": {"directory": tmp_path}}))
    assert not (app.conf.web_enabled or app.conf.web_tables_enabled or app.BootStrategy.enable_web)
    assert not app.conf.topic_allow_declare


def test_no_metric_has_a_user_or_a_product_as_label() -> None:
    known = metrics.create(topics=["purchases"], reasons=["json"], tables=["t"]).registry.collect()
    labels = {name for family in known for sample in family.samples for name in sample.labels}
    assert "topic" in labels and not labels & {
        "user",
        "user_id",
        "key",
        "product",
        "product_id",
        "event_id",
    }


def test_the_documented_rights_are_the_ones_that_are_tested() -> None:
    from worker.cli.app import cli

    lines = list(acls.script(load(), "User:pprm"))
    operations = (ROOT / "docs" / "operations.md").read_text()
    assert "```sh\n" + "\n".join(lines) + "\n```" in operations, (
        "paste what `pprm topics acls` prints"
    )
    assert CliRunner().invoke(cli, ["topics", "acls"]).output.splitlines() == lines


def test_the_rights_cover_all_topics_and_create_none() -> None:
    settings = load({"app_id": "a", "topics": {"prefix": "x-"}})
    needed = acls.needed(settings)
    named = {name for acl in needed if acl.kind == "topic" for name in acl.names}
    assert named == {spec.name for spec in topics.plan(settings)}
    assert {operation for acl in needed for operation in acl.operations} == {
        "Read",
        "Write",
        "Describe",
        "DescribeConfigs",
    }
