"""The state directory is closed to other users, and nothing else is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.ops import state_directory


@pytest.fixture(autouse=True)
def given_back() -> Iterator[None]:
    """The permissions of new files and the locks of this process as they were."""
    before = os.umask(0o022)
    yield
    os.umask(before)
    while state_directory._held:
        os.close(state_directory._held.pop())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_and_what_is_written_into_it_are_the_workers_own(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    state_directory.lock(directory)
    (directory / "user_state-0.db").mkdir()
    (directory / "user_state-0.db" / "000001.sst").write_bytes(b"")
    modes = [mode(path) for path in (directory, *sorted(directory.rglob("*")))]
    assert modes == [0o700, 0o700, 0o600, 0o600]


def test_a_directory_of_a_version_before_is_closed(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir(mode=0o755)
    for path in (tmp_path / state_directory.LOCK_FILE, tmp_path / "tables" / "1.sst"):
        path.write_bytes(b"")
        path.chmod(0o644)
    tmp_path.chmod(0o755)
    state_directory.lock(tmp_path)
    assert [mode(path) for path in (tmp_path, *sorted(tmp_path.rglob("*")))] == [
        0o700,
        0o700,
        0o600,
        0o600,
    ]


def test_a_directory_that_holds_other_things_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"")
    (tmp_path / "holiday.jpg").chmod(0o644)
    tmp_path.chmod(0o755)
    state_directory.lock(tmp_path)
    assert (mode(tmp_path), mode(tmp_path / "holiday.jpg")) == (0o755, 0o644)
    assert mode(tmp_path / state_directory.LOCK_FILE) == 0o600
