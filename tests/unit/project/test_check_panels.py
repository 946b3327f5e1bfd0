import json
import runpy
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlparse

import pytest

SCRIPT = str(Path(__file__).parents[3] / "deploy/grafana/check_panels.py")
DASHBOARD = json.loads((Path(SCRIPT).parent / "dashboards/pprm-worker.json").read_text())
PANELS = sum(panel["type"] != "row" for panel in DASHBOARD["panels"])
Answer = Callable[[str], list[str]]


@pytest.fixture
def prometheus() -> Iterator[Callable[[Answer], str]]:
    """Start a stand-in that answers every query with one series of these values."""
    servers: list[HTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                values = answer(parse_qs(urlparse(self.path).query)["query"][0])
                result = (
                    [{"metric": {}, "values": [[0, value] for value in values]}] if values else []
                )
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"data": {"result": result}}).encode())

            def log_message(self, *_: object) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def check(monkeypatch: pytest.MonkeyPatch, address: str) -> int:
    monkeypatch.setattr("sys.argv", ["check_panels.py", address])
    code: int = runpy.run_path(SCRIPT)["main"]()
    return code


def test_all_panels_have_data(
    prometheus: Callable[[Answer], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check(monkeypatch, prometheus(lambda _: ["1", "NaN", "2"])) == 0
    assert f"{PANELS} of {PANELS} panels have data" in capsys.readouterr().out


@pytest.mark.parametrize("nothing", [[], ["NaN"], ["+Inf"]], ids=["no series", "NaN", "infinite"])
def test_a_panel_without_a_number_fails(
    prometheus: Callable[[Answer], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    nothing: list[str],
) -> None:
    address = prometheus(lambda query: nothing if "pprm_queue_wait" in query else ["1"])
    assert check(monkeypatch, address) == 1
    assert "without data: Wait for a micro-batch\n" in capsys.readouterr().out


def test_no_prometheus_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(monkeypatch, "http://127.0.0.1:1") == 2
    assert "does not answer" in capsys.readouterr().err
