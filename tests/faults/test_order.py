"""After a power cut, too, there is nothing half: what must be flushed is, before who relies on it.

Read from the traces of real commands. A kill says nothing about that, as the kernel goes on.
"""

import contextlib
import sqlite3

import pytest

from tests.faults.conftest import Workshop
from tests.faults.points import Fault
from tests.faults.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.root
BLOBS = "root/content/blobs/sha256"
WRITERS = [one for one in SCENARIOS if one.name in ("build", "pull", "load", "import", "commit")]
BY_NAME = {one.name: one for one in SCENARIOS}


def operations(trace: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (kind, path or paths) of each line, and ("-", SQL)."""
    split = [line.split(" ", 2) for line in trace]
    return [
        ("-", " ".join(words[1:])) if words[0] == "-" else (words[1], words[2]) for words in split
    ]


@pytest.mark.parametrize("scenario", WRITERS, ids=str)
def test_blob_is_flushed_before_it_is_visible(workshop: Workshop, scenario: Scenario) -> None:
    run, _ = workshop.whole(scenario)
    flushed: set[str] = set()
    published = 0

    for kind, what in operations(run.trace):
        if kind == "write":
            flushed.discard(what)
        elif kind == "fsync":
            flushed.add(what)
        elif kind == "rename" and f" -> {BLOBS}/" in what:
            assert what.partition(" -> ")[0] in flushed, what
            published += 1

    assert published


@pytest.mark.parametrize("scenario", WRITERS, ids=str)
def test_name_of_a_blob_is_flushed_before_a_tag_relies_on_it(
    workshop: Workshop, scenario: Scenario
) -> None:
    run, _ = workshop.whole(scenario)
    unflushed: list[str] = []
    tags = 0

    for kind, what in operations(run.trace):
        if kind == "rename" and f" -> {BLOBS}/" in what:
            unflushed.append(what)
        elif (kind, what) == ("fsync", BLOBS):
            unflushed = []
        elif kind == "-" and what.startswith("INSERT OR REPLACE INTO images"):
            assert unflushed == []
            tags += 1

    assert tags


def test_snapshot_counts_as_flushed_only_after_its_files_are(workshop: Workshop) -> None:
    lab = workshop.lab(BY_NAME["import"])
    with contextlib.closing(sqlite3.connect(lab.root / "imagekit.db")) as database, database:
        database.execute("UPDATE snapshots SET created = created - 3600, durable = 0")

    run = lab.run("import", "root.tar", "other:1", fault=Fault())

    done = operations(run.trace)
    marks = [n for n, (_, what) in enumerate(done) if what.startswith("UPDATE snapshots SET dur")]
    (synced,) = [n for n, (kind, _) in enumerate(done) if kind == "syncfs"]
    commits = [n for n, (kind, _) in enumerate(done) if kind in ("commit", "flush")]
    end = next(n for n in commits if n > marks[-1])
    assert marks
    assert synced < min(marks)
    assert done[end][0] == "flush"
    written = [n for n, (kind, what) in enumerate(done) if kind == "write" and "snapshots/" in what]
    assert max(written, default=0) < synced
    lab.remove()


@pytest.mark.parametrize("name", ["prune-all", "rm"])
def test_rows_are_gone_for_good_before_their_directories(workshop: Workshop, name: str) -> None:
    run, _ = workshop.whole(BY_NAME[name])
    unflushed = False
    removed = 0

    for kind, what in operations(run.trace):
        if kind == "-" and what.startswith(("DELETE FROM snapshots", "DELETE FROM containers")):
            unflushed = True
        elif kind == "flush":
            unflushed = False
        elif kind == "rename" and what.startswith(("root/snapshots/", "root/containers/")):
            assert not unflushed, what
            removed += 1

    assert removed
