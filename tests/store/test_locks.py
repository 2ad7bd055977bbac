import subprocess
import sys
import threading
from pathlib import Path

from imagekit.store.layout import Store
from imagekit.store.locks import Locks

HOLD_UNTIL_KILLED = """
import sys
from pathlib import Path
from imagekit.store.locks import Locks
with Locks(Path(sys.argv[1])).exclusive("name"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_exclusive_lock_is_held_by_one_thread_at_a_time(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(50):
            with locks.exclusive("name"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1


def test_names_do_not_hinder_each_other_and_shared_is_shared(tmp_path: Path) -> None:
    locks = Locks(tmp_path)

    with locks.exclusive("a/../b"), locks.exclusive("b"), locks.shared("c"), locks.shared("c"):
        assert len(list(tmp_path.iterdir())) == 3


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_UNTIL_KILLED, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path.cwd(),
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()

        with Locks(tmp_path).exclusive("name"):
            pass


def test_cache_mount_is_the_same_directory_for_the_same_id(store: Store) -> None:
    path = store.cache_mounts.path("/root/.cache")

    assert path == store.cache_mounts.path("/root/.cache")
    assert path != store.cache_mounts.path("../../etc")
    assert path.parent.parent == store.paths.cache_mounts
    assert path.stat().st_mode & 0o7777 == 0o755
    assert path.parent.stat().st_mode & 0o7777 == 0o700
