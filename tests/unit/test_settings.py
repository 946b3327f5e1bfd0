import json
import ssl
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest
from annotated_types import Ge, Le
from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from pprm.state.visit import SESSION
from worker import settings
from worker.cli import app as cli
from worker.cli.commands import run
from worker.settings import (
    Recommendations,
    Settings,
    SettingsError,
    client_settings,
    describe,
    load,
)


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.os.environ.copy():
        if name.startswith("PPRM_"):
            monkeypatch.delenv(name)


def test_flags_win_over_environment_over_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "pprm.toml"
    file.write_text(
        'app_id = "file"\n[http]\nport = 1\n[topics]\nprefix = "file-"\npartitions = 7\n'
    )
    monkeypatch.setenv("PPRM_CONFIG", str(file))
    monkeypatch.setenv("PPRM_HTTP__PORT", "2")
    monkeypatch.setenv("PPRM_TOPICS__PREFIX", "environment-")
    loaded = load({"topics": {"prefix": "flag-"}})
    assert (loaded.app_id, loaded.http.port, loaded.topics.prefix, loaded.topics.partitions) == (
        "file",
        2,
        "flag-",
        7,
    )
    assert loaded.http.host == "127.0.0.1"


@pytest.mark.parametrize(
    "name", ["PPRM_NONSENSE", "PPRM_KAFKA__NONSENSE", "PPRM_HTTP_PORT", "PPRM_CONFIG_FILE"]
)
def test_unknown_variables_are_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=name):
        load()


@pytest.mark.parametrize("service", ["PPRM", "PPRM_WORKER", "PPRM_HTTP", "PPRM_KAFKA_2"])
def test_what_kubernetes_tells_of_a_service_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    fields = {
        "SERVICE_HOST": "10.0.0.11", "SERVICE_PORT": "9464", "SERVICE_PORT_METRICS": "9464",
        "PORT": "tcp://10.0.0.11:9464", "PORT_9464_TCP": "tcp://10.0.0.11:9464",
        "PORT_9464_TCP_PROTO": "tcp",
        "PORT_9464_TCP_PORT": "9464", "PORT_9464_TCP_ADDR": "10.0.0.11",
        "PORT_53_UDP": "udp://10.0.0.11:53",
        "PORT_53_UDP_ADDR": "10.0.0.11",
    }  # fmt: skip
    for name, value in fields.items():
        monkeypatch.setenv(f"{service}_{name}", value)
    monkeypatch.setenv("PPRM_HTTP__PORT", "2")
    assert load().http.port == 2


@pytest.mark.parametrize(
    "name",
    [
        "PPRM_HTTP__PORTS",
        "PPRM_HTTP__SERVICE",
        "PPRM_WORKER_PORT",
        "PPRM_PORT_9464",
        "PPRM_SERVICE_HOSTS",
    ],
)
def test_a_name_that_kubernetes_does_not_make_is_still_a_mistake(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "9464")
    with pytest.raises(SettingsError, match=name):
        load()


def test_unknown_names_in_a_file_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "pprm.toml"
    file.write_text("[kafka]\nbootstrap = 1\n")
    monkeypatch.setenv("PPRM_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"kafka\.bootstrap"):
        load()


def test_a_missing_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPRM_CONFIG", "/nowhere/pprm.toml")
    with pytest.raises(SettingsError, match="does not exist"):
        load()


def test_values_out_of_range_are_refused_without_telling_secrets() -> None:
    with pytest.raises(SettingsError, match=r"topics\.partitions"):
        load({"topics": {"partitions": 0}})
    with pytest.raises(SettingsError) as caught:
        load({"kafka": {"security_protocol": "SASL_SSL", "sasl_password": "hunter2"}})
    assert "sasl_username" in str(caught.value) and "hunter2" not in str(caught.value)


SASL = {"security_protocol": "SASL_SSL", "sasl_username": "shop", "sasl_password": "hunter2"}


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    loaded = load({"kafka": SASL})
    shown = "".join(str(cell) for column in describe(loaded).columns for cell in column.cells)
    assert "hunter2" not in shown + repr(loaded) + str(loaded.model_dump())
    assert "PPRM_KAFKA__SASL_PASSWORD" in shown


def test_memory_is_given_and_shown_with_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPRM_STATE__MEMORY", "64MiB")
    loaded = load()
    shown = [str(cell) for column in describe(loaded).columns for cell in column.cells]
    assert loaded.state.memory == 64 << 20 and "64.0MiB" in shown
    monkeypatch.setenv("PPRM_STATE__MEMORY", "1MiB")
    with pytest.raises(SettingsError, match="greater than or equal"):
        load()


def test_clients_get_credentials_and_tls() -> None:
    client = client_settings(load({"kafka": SASL}).kafka)
    assert client["sasl_plain_password"] == "hunter2" and client["ssl_context"].check_hostname
    assert client_settings(load().kafka) == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "PLAINTEXT",
    }


def test_passwords_in_clear_text_need_a_setting_that_says_so() -> None:
    clear = SASL | {"security_protocol": "SASL_PLAINTEXT"}
    with pytest.raises(SettingsError, match=r"SASL_SSL,.*allow_passwords_in_clear_text") as caught:
        load({"kafka": clear})
    assert "hunter2" not in str(caught.value)
    assert "ssl_context" not in client_settings(
        load({"kafka": clear | {"allow_passwords_in_clear_text": True}}).kafka
    )


def test_tls_checks_certificate_and_host_name() -> None:
    context = client_settings(load({"kafka": SASL}).kafka)["ssl_context"]
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_is_none_is_refused_at_once(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"ssl_cafile .*ca\.pem holds no CA certificates"):
        load({"kafka": SASL | {"ssl_cafile": file}})


BESIDE = {"kafka.security_protocol": {"sasl_username": "shop", "sasl_password": "hunter2"}}
"""What a value needs beside it in its section."""
CHOSEN = {"kafka.security_protocol": "SASL_SSL", "kafka.bootstrap_servers": "kafka.example:9092"}
FLAGS = {
    "kafka.bootstrap_servers": "--broker", "state.directory": "--state",
    "model.directory": "--model",
    "model.device": "--device", "http.port": "--port",
}  # fmt: skip
"""Of `pprm worker`, which has no others."""


def leaves(model: type[BaseModel] = Settings, section: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Each setting by its name with dots."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{name}.")
        else:
            yield f"{section}{name}", field


def another(name: str, field: FieldInfo) -> Any:
    """A valid value that is not the default."""
    if name in CHOSEN:
        return CHOSEN[name]
    limits = {type(limit): limit for limit in field.metadata}
    kinds = {
        kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type)
    }
    if kinds & {int, float, ByteSize}:
        bounds = (getattr(limits.get(Ge), "ge", 1), getattr(limits.get(Le), "le", None))
        return next(bound for bound in bounds if bound is not None and bound != field.default)
    if bool in kinds:
        return not field.default
    if kinds & {str, Path, SecretStr}:
        return "another-name"
    words = [
        choice
        for choice in get_args(field.annotation)
        if isinstance(choice, str) and choice != field.default
    ]
    return words[0] if words else "2026-06-01T00:00:00Z"


def value_of(loaded: Settings, name: str) -> Any:
    value: Any = loaded
    for part in name.split("."):
        value = getattr(value, part)
    return value


SETTINGS = [pytest.param(name, field, id=name) for name, field in leaves()]


def given(name: str, field: FieldInfo) -> dict[str, Any]:
    """The settings to give, by their names with dots."""
    section = name.rpartition(".")[0]
    return {name: another(name, field)} | {
        f"{section}.{k}": v for k, v in BESIDE.get(name, {}).items()
    }


@pytest.mark.parametrize(("name", "field"), SETTINGS)
def test_every_setting_by_every_way(
    name: str, field: FieldInfo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nested: dict[str, Any] = {}
    for setting, value in given(name, field).items():
        *sections, leaf = setting.split(".")
        at = nested
        for section in sections:
            at = at.setdefault(section, {})
        at[leaf] = value
    wanted = value_of(load(nested), name)
    assert wanted != value_of(load(), name)

    file = tmp_path / "pprm.toml"
    lines = [f"{setting} = {json.dumps(value)}" for setting, value in given(name, field).items()]
    file.write_text("\n".join(lines))
    with monkeypatch.context() as patch:
        patch.setenv("PPRM_CONFIG", str(file))
        assert value_of(load(), name) == wanted, "in a file"
    with monkeypatch.context() as patch:
        for setting, value in given(name, field).items():
            text = value if isinstance(value, str) else json.dumps(value)
            patch.setenv(f"PPRM_{setting.upper().replace('.', '__')}", text)
        assert value_of(load(), name) == wanted, "in the environment"
    if name in FLAGS:
        started: list[Settings] = []
        monkeypatch.setattr("worker.app.run", started.append)
        result = CliRunner().invoke(cli.cli, ["worker", FLAGS[name], str(another(name, field))])
        assert result.exit_code == 0, result.output
        assert value_of(started[0], name) == wanted, "as a flag"


def test_every_flag_of_the_worker_is_a_setting() -> None:
    assert len(signature(run.worker).parameters) == len(FLAGS) + 1, "and --config"


def test_a_visit_is_over_in_serving_when_it_is_in_the_state() -> None:
    """The number stands in both: the settings import no numpy."""
    assert Recommendations().session_minutes * 60 == SESSION
