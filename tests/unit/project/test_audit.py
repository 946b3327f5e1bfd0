import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "deploy" / "audit.py"


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CLEAN = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("found", "code", "text"),
    [
        ([CLEAN], 0, "1 packages audited, 0 vulnerabilities known"),
        (
            [CLEAN, VULNERABLE],
            1,
            "b 2: CVE-1, fixed in ['3']\n2 packages audited, 1 vulnerabilities known",
        ),
        ([CLEAN, SKIPPED], 0, "not asked: c\n1 packages audited, 0 vulnerabilities known"),
        ([SKIPPED], 2, "NOT AUDITED: the service knows none of the 1 packages"),
        (
            "connection refused",
            2,
            "NOT AUDITED: pip-audit could not ask its service: connection refused",
        ),
    ],
)
def test_what_was_not_asked_is_not_called_clean(
    audit: Any, found: Any, code: int, text: str
) -> None:
    assert audit.report(found)[0] == code and audit.report(found)[1].startswith(text)


def test_a_pip_audit_that_cannot_work_is_told(audit: Any) -> None:
    assert audit.report(audit.ask("false"))[0] == 2
