"""The disk fills up, files break, two workers want the same.

T13, T14, T18 of docs/reliability.md.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rocksdict
from faust.stores.rocksdb import Store

from tests.faults.harness import (
    assert_clean,
    database,
    load,
    only_in_full,
    open_shop,
    size,
    supervised,
    until_ready,
)
from tests.integration.shop import PARTITIONS, Shop

DISK, MORE = "3m", "64m"
ROUND, MOST_ROUNDS = 1000, 30
"""Events per round, and rounds until the disk must be full."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that a few thousand states fill."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(directory)], check=False
    ).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@only_in_full
def test_t13_a_full_disk_ends_the_worker_and_space_brings_the_state_back(
    shop: Shop, small_disk: Path
) -> None:
    async def story() -> None:
        await open_shop(shop)
        async with supervised(shop, STATE__DIRECTORY=str(small_disk / "state")) as worker:
            first, rounds = worker(), 0
            while first.alive and rounds < MOST_ROUNDS:
                await load(shop, events=ROUND, per_second=500, seed=rounds, first=ROUND * rounds)
                rounds += 1
            log = shop.logs()[0].read_text()
            assert first.process.returncode != 0 and "No space left on device" in log
            subprocess.run(["mount", "-o", f"remount,size={MORE}", str(small_disk)], check=True)
            await load(shop, events=ROUND, per_second=500, seed=rounds, first=ROUND * rounds)
            await assert_clean(shop)
            status, said = worker().get("/live")
            assert status == 503 and "disk nearly full" in said, "64 MB are below the floor still"

    asyncio.run(story())


def wipe(path: Path) -> None:
    shutil.rmtree(path)


def remove_sst(path: Path) -> None:
    tables = sorted(path.glob("*.sst"))
    assert tables, "the state has not been flushed to a file"
    tables[0].unlink()


def cut_manifest(path: Path) -> None:
    (manifest,) = path.glob("MANIFEST-*")
    with manifest.open("r+b") as file:
        file.truncate(manifest.stat().st_size // 2)


def garble_sst(path: Path) -> None:
    """Damage that shows when it is read, not when it is opened."""
    for table in path.glob("*.sst"):
        with table.open("r+b") as file:
            file.seek(0)
            file.write(b"\xa5" * min(512, table.stat().st_size // 3))


@pytest.mark.parametrize("damage", [wipe, remove_sst, cut_manifest, garble_sst])
def test_t14_broken_files_come_back_from_the_changelog(
    shop: Shop, damage: Callable[[Path], None]
) -> None:
    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await load(shop, events=size(600, 2000), per_second=300)
        await assert_clean(shop)
        assert await asyncio.to_thread(worker.terminate) == 0
        # opening writes what was in the write-ahead log to a table file
        await until_ready(shop.start_worker())
        assert await asyncio.to_thread(shop.workers[-1].terminate) == 0
        for partition in range(PARTITIONS):
            damage(database(shop, partition))
        async with supervised(shop) as worker:  # what is found only in use ends the process
            await load(shop, events=size(600, 2000), per_second=300, seed=2, first=10_000)
            await assert_clean(shop)
        if damage is not wipe:
            assert worker().metric("pprm_state_quarantines_total") >= 1
            assert any(
                "quarantined" in path.name for path in (shop.directory / "worker").rglob("*.db.*")
            )

    asyncio.run(story())


def test_t14_a_stale_directory_catches_up(shop: Shop) -> None:
    """A backup of the directory is restored that is older than the group's offsets."""

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await load(shop, events=500, per_second=300)
        await assert_clean(shop)
        assert await asyncio.to_thread(worker.terminate) == 0
        shutil.copytree(shop.directory / "worker", shop.directory / "backup")
        worker = await until_ready(shop.start_worker())
        await load(shop, events=500, per_second=300, seed=2, first=10_000)
        await assert_clean(shop)
        worker.kill()
        shutil.rmtree(shop.directory / "worker")
        shutil.move(shop.directory / "backup", shop.directory / "worker")
        await until_ready(shop.start_worker())
        await load(shop, events=500, per_second=300, seed=3, first=20_000)
        await assert_clean(shop)

    asyncio.run(story())


def test_t14_a_directory_that_is_ahead_of_the_broker_is_not_believed(shop: Shop) -> None:
    """As after the changelog topic was made anew, or the directory came from another cluster."""
    if not shop.is_apache:
        pytest.skip("the embedded broker answers a fetch beyond the end as if it were the end")

    async def story() -> None:
        await open_shop(shop)
        worker = await until_ready(shop.start_worker())
        await load(shop, events=300, per_second=300)
        await assert_clean(shop)
        assert await asyncio.to_thread(worker.terminate) == 0
        for partition in range(PARTITIONS):
            db = rocksdict.Rdict(str(database(shop, partition)), rocksdict.Options(raw_mode=True))
            db.put(Store.offset_key, b"1000000")
            for key in [key for key, _ in db.items() if key.startswith(b"u")]:
                db.put(key, b"of another world")
            db.close()
        await until_ready(shop.start_worker())
        await load(shop, events=300, per_second=300, seed=2, first=10_000)
        await assert_clean(shop)
        assert "reading the whole changelog again" in (shop.directory / "worker.log").read_text()

    asyncio.run(story())


def test_t18_two_workers_on_one_directory(shop: Shop) -> None:
    async def story() -> None:
        await open_shop(shop)
        first = await until_ready(shop.start_worker("same"))
        second = shop.start_worker("other", STATE__DIRECTORY=str(shop.directory / "same"))
        assert await asyncio.to_thread(second.process.wait, 30) == 70
        text = (shop.directory / "other.log").read_text()
        assert f"another worker (process {first.process.pid}) uses the state directory" in text
        assert "state.directory" in text
        assert first.alive
        first.kill()
        # a lock that its owner's death leaves would be worse than none
        await until_ready(shop.start_worker("same"))

    asyncio.run(story())
