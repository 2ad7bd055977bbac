"""The commands that list, name, move and remove."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imagekit.base.errors import UserError
from imagekit.containers.logs import LogRecord
from imagekit.containers.model import ContainerSummary, PortBinding, Status
from imagekit.images.fsck import FsckReport, RepairReport
from imagekit.images.local import HistoryRow, ImageSummary
from imagekit.oci.digest import Digest
from imagekit.oci.image_config import History
from imagekit.oci.platform import Platform
from imagekit.store.gc import PruneReport
from imagekit.store.plan import LabelFilter
from imagekit.store.usage import Usage, UsageRow
from imagekit.store.verify import Issue, Kind

FakeEngine = Any
Invoke = Any
NOW = datetime(2026, 2, 1, 12, 0, 0, tzinfo=UTC)
NAME = "docker.io/library/app:1.0"
ID = Digest.of(b"config")
DIGEST = Digest.of(b"manifest")
IMAGE = ImageSummary(
    name=NAME,
    id=ID,
    digest=DIGEST,
    created=NOW - timedelta(minutes=3),
    size_bytes=123_456_789,
    platform=Platform("linux", "amd64"),
)
CONTAINER = ContainerSummary(
    id="c0ffee" * 10 + "c0ff",
    name="web",
    image="app:1.0",
    image_id=str(ID),
    command="python -m http.server with many arguments",
    created=NOW - timedelta(hours=3),
    status=Status.RUNNING,
    state="Up 3 hours",
    exit_code=None,
    ports=(PortBinding(container_port=80, protocol="tcp", host_ip="127.0.0.1", host_port=8080),),
    labels={"tier": "front"},
)


def test_images_is_a_table(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = (IMAGE,)

    lines = invoke("images").stdout.splitlines()

    assert lines[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert lines[1].split() == ["app", "1.0", ID.short, "3", "minutes", "ago", "123MB"]


def test_images_as_json(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = (IMAGE,)

    assert json.loads(invoke("images", "--json").stdout) == [
        {
            "ID": str(ID),
            "Repository": "app",
            "Tag": "1.0",
            "Digest": str(DIGEST),
            "Created": "2026-02-01T11:57:00Z",
            "Size": 123456789,
            "Platform": "linux/amd64",
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["-q"], f"{ID.short}\n"),
        (["-q", "--no-trunc"], f"{ID}\n"),
        (["--format", "{{.Repository}}:{{.Tag}}"], "app:1.0\n"),
        (["--format", "table {{.ID}}\\t{{.Tag}}"], f"ID            TAG\n{ID.short}  1.0\n"),
        (["-q", "app"], f"{ID.short}\n"),
        (["-q", "a*"], f"{ID.short}\n"),
        (["-q", "app:1.0"], f"{ID.short}\n"),
        (["-q", "app:2.0"], ""),
    ],
)
def test_forms_of_images(
    invoke: Invoke, engine: FakeEngine, arguments: list[str], output: str
) -> None:
    engine.answers["images"] = (IMAGE,)

    assert invoke("images", *arguments).stdout == output


def test_a_wrong_template_is_a_usage_error(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["images"] = (IMAGE,)

    result = invoke("images", "--format", "{{.Nme}}")

    assert result.exit_code == 2
    assert "no field '.Nme'; known here are ID, Repository" in result.stderr


def test_ps_is_a_table(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.list"] = (CONTAINER,)

    lines = invoke("ps").stdout.splitlines()

    assert "c0ffeec0ffee" in lines[1]
    assert '"python -m http.serv…"' in lines[1]
    assert lines[1].endswith("Up 3 hours  127.0.0.1:8080->80/tcp  web")
    assert engine.only_call("containers.list") == ((), {"all": False})


@pytest.mark.parametrize(
    ("filter_text", "found"),
    [
        ("name=we", True),
        ("name=db", False),
        ("label=tier", True),
        ("label=tier=back", False),
        ("status=running", True),
        ("ancestor=app:1.0", True),
        ("id=c0ff", True),
    ],
)
def test_ps_filters(invoke: Invoke, engine: FakeEngine, filter_text: str, found: bool) -> None:
    engine.answers["containers.list"] = (CONTAINER,)

    assert bool(invoke("ps", "-q", "--filter", filter_text).stdout) is found


def test_an_unknown_filter_is_refused(invoke: Invoke) -> None:
    assert "unknown filter 'colour'" in invoke("ps", "-f", "colour=red").stderr


def test_several_names_are_all_tried(invoke: Invoke, engine: FakeEngine) -> None:
    def stop(name: str, timeout_s: float | None) -> None:
        assert timeout_s == 2
        if name == "a":
            raise UserError("no container 'a'")

    engine.answers["containers.stop"] = stop

    result = invoke("stop", "-t", "2", "a", "b")

    assert result.exit_code == 2
    assert result.stdout == "b\n"
    assert result.stderr == "imagekit: error: no container 'a'\n"


def test_kill_rm_wait(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.wait"] = 143

    assert invoke("kill", "-s", "HUP", "web").stdout == "web\n"
    assert invoke("rm", "-fv", "web").stdout == "web\n"
    assert invoke("wait", "web").stdout == "143\n"

    assert engine.calls == [
        ("containers.kill", ("web", "HUP"), {}),
        ("containers.remove", ("web",), {"force": True, "volumes": True}),
        ("containers.wait", ("web",), {}),
    ]


def record(stream: str, data: bytes) -> LogRecord:
    return LogRecord(time=NOW, stream=stream, data=data)


def test_logs_go_to_their_streams(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.logs"] = (record("stdout", b"out\n"), record("stderr", b"err\n"))

    result = invoke("logs", "-f", "-n", "5", "--since", "10m", "-t", "web")

    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert engine.only_call("containers.logs") == (
        ("web",),
        {"follow": True, "tail": 5, "since": NOW - timedelta(minutes=10), "timestamps": True},
    )


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("1700000000", datetime.fromtimestamp(1700000000, UTC)),
    ],
)
def test_since(invoke: Invoke, engine: FakeEngine, text: str, moment: datetime) -> None:
    engine.answers["containers.logs"] = ()

    invoke("logs", "--since", text, "web")

    assert engine.only_call("containers.logs")[1]["since"] == moment


@pytest.mark.parametrize(
    ("option", "value"), [("--since", "yesterday"), ("--tail", "-1"), ("--tail", "many")]
)
def test_wrong_times_and_numbers(invoke: Invoke, option: str, value: str) -> None:
    result = invoke("logs", option, value, "web")

    assert result.exit_code == 2
    assert value in result.stderr


def test_commit(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["containers.commit"] = SimpleNamespace(id=ID)

    result = invoke("commit", "-m", "why", "-a", "me", "-c", "CMD x", "--no-pause", "web", "app:2")

    assert result.stdout == f"{ID}\n"
    assert engine.only_call("containers.commit") == (
        ("web", "app:2"),
        {"changes": ("CMD x",), "author": "me", "message": "why", "pause": False},
    )


def test_history(invoke: Invoke, engine: FakeEngine) -> None:
    step = History(created="2026-02-01T11:00:00Z", created_by="RUN " + "x" * 100)
    engine.answers["image_history"] = (HistoryRow(history=step, size_bytes=1000, digest=None),)

    assert "…" in invoke("history", "app").stdout
    assert "x" * 100 in invoke("history", "--no-trunc", "app").stdout
    assert json.loads(invoke("history", "--json", "app").stdout)[0]["Size"] == 1000


def test_inspect_prints_what_it_found_and_reports_the_rest(
    invoke: Invoke, engine: FakeEngine
) -> None:
    def inspect(name: str) -> tuple[str, dict[str, object]]:
        if name == "gone":
            raise UserError("nothing is called 'gone'")
        return "image", {"Id": str(ID), "Config": {"User": "me"}}

    engine.answers["inspect"] = inspect

    result = invoke("inspect", "gone", "app")

    assert result.exit_code == 2
    assert json.loads(result.stdout) == [{"Id": str(ID), "Config": {"User": "me"}}]
    assert invoke("inspect", "-f", "{{.Config.User}}", "app").stdout == "me\n"
    assert "not the name of a container" in invoke("inspect", "--type", "container", "x").stderr


def test_tag_rmi(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["remove_image"] = ("Untagged: app:1.0", f"Deleted: {ID}")

    assert invoke("tag", "app", "b:1").exit_code == 0
    assert invoke("rmi", "-f", "app:1.0").stdout == f"Untagged: app:1.0\nDeleted: {ID}\n"

    assert engine.calls == [
        ("tag", ("app", "b:1"), {}),
        ("remove_image", ("app:1.0",), {"force": True}),
    ]


def test_import_save_load(invoke: Invoke, engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers["import_image"] = IMAGE
    engine.answers["load"] = ("app:1.0",)
    archive = tmp_path / "a.tar"

    assert invoke("import", "-c", "CMD x", "root.tar", "app:1").stdout == f"{ID}\n"
    assert invoke("save", "-o", str(archive), "app").exit_code == 0
    assert invoke("load", "-i", str(archive)).stdout == "Loaded image: app:1.0\n"

    assert engine.only_call("import_image") == (
        (Path("root.tar"), "app:1"),
        {"changes": ("CMD x",), "message": ""},
    )
    assert engine.only_call("save") == ((("app",), archive), {"format": "oci-archive"})
    assert engine.only_call("load") == ((archive,), {})


def test_pull_and_push(invoke: Invoke, engine: FakeEngine) -> None:
    blob = SimpleNamespace(descriptor=SimpleNamespace(digest=DIGEST, size=5), skipped=True)
    engine.answers["pull"] = IMAGE
    engine.answers["push"] = SimpleNamespace(
        root=SimpleNamespace(digest=DIGEST), moved_bytes=1, skipped_bytes=5, blobs=(blob,)
    )

    assert invoke("pull", "-q", "app:1.0").stdout == f"{DIGEST}\n"
    assert invoke("push", "app:1.0", "r/app:1").stdout == f"r/app:1: {DIGEST}\n"
    assert json.loads(invoke("push", "--json", "app:1.0").stdout)["skipped_bytes"] == 5

    assert engine.calls[0] == ("pull", ("app:1.0",), {"platform": None, "insecure": False})
    assert engine.calls[1] == (
        "push",
        ("app:1.0", "r/app:1"),
        {"insecure": False, "concurrency": 4},
    )


def test_a_password_comes_by_standard_input(invoke: Invoke, engine: FakeEngine) -> None:
    result = invoke("login", "-u", "me", "--password-stdin", "r.example", stdin="s3cret\n")

    assert result.exit_code == 0, result.stderr
    assert engine.only_call("login") == (("r.example", "me", "s3cret"), {})
    assert "s3cret" not in result.output


def test_a_password_on_the_command_line_is_warned_of(invoke: Invoke, engine: FakeEngine) -> None:
    result = invoke("login", "-u", "me", "-p", "s3cret", "r.example")

    assert "warning: every user of this machine can read" in result.stderr
    assert "s3cret" not in result.output
    assert engine.only_call("login") == (("r.example", "me", "s3cret"), {})


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (["--password-stdin", "r"], "x", "needs --username"),
        (["-u", "me", "r"], "", "standard input is not a terminal"),
        (["-u", "me", "--password-stdin", "r"], "\n", "password is empty"),
        (["-u", "me", "-p", "x", "--password-stdin", "r"], "x", "exclude each other"),
    ],
)
def test_wrong_logins(
    invoke: Invoke, engine: FakeEngine, arguments: list[str], stdin: str, problem: str
) -> None:
    result = invoke("login", *arguments, stdin=stdin)

    assert result.exit_code == 2
    assert problem in result.stderr
    assert engine.calls == []


def test_logout(invoke: Invoke, engine: FakeEngine) -> None:
    assert invoke("logout", "r.example").exit_code == 0
    assert engine.only_call("logout") == (("r.example",), {})


def test_disk_usage(invoke: Invoke, engine: FakeEngine) -> None:
    row = UsageRow(kind="blobs", count=4, active=1, size_bytes=2000, reclaimable_bytes=500)
    engine.answers["disk_usage"] = Usage(
        rows=(row,), images=(), containers=(), cache_records=(), cache_mounts=()
    )

    assert invoke("system", "df").stdout.splitlines()[1].split() == [
        "blobs", "4", "1", "2kB", "500B", "(25%)",
    ]  # fmt: skip
    assert json.loads(invoke("system", "df", "--json").stdout)[0]["count"] == 4


NOTHING_PRUNED = PruneReport(
    blobs=(), snapshots=(), cache_records=(), cache_mounts=0, freed_bytes=0
)


def test_prune_asks_first(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["prune"] = PruneReport(
        blobs=(DIGEST,), snapshots=(), cache_records=("k",), cache_mounts=0, freed_bytes=1000
    )

    refused = invoke("system", "prune", stdin="n\n")
    assert refused.exit_code == 1
    assert refused.stderr.endswith("nothing removed\n")
    assert engine.calls == []

    result = invoke("system", "prune", "-a", "--keep-bytes", "1g", stdin="y\n")
    assert "every image that no container uses, and the build cache beyond 1.07GB?" in result.stderr
    assert result.stdout.endswith("removed 1 blobs, 1 cache records: 1kB\n")
    assert engine.only_call("prune") == (
        (),
        {
            "everything": True,
            "images": True,
            "keep_cache_bytes": 1 << 30,
            "unused_since": None,
            "labels": (),
            "dry_run": False,
        },
    )


@pytest.mark.parametrize("spelling", ["--keep-bytes", "--keep-storage", "--keep-cache"])
def test_prune_keeps_bytes_under_every_name(
    invoke: Invoke, engine: FakeEngine, spelling: str
) -> None:
    engine.answers["prune"] = NOTHING_PRUNED

    assert invoke("system", "prune", "-f", spelling, "2k").exit_code == 0

    assert engine.only_call("prune")[1]["keep_cache_bytes"] == 2048


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("24h", NOW - timedelta(hours=24)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00:00+02:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("1769860800", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_prune_until(invoke: Invoke, engine: FakeEngine, text: str, moment: datetime) -> None:
    engine.answers["prune"] = NOTHING_PRUNED

    assert invoke("system", "prune", "-f", "--filter", f"until={text}").exit_code == 0

    assert engine.only_call("prune")[1]["unused_since"] == moment


def test_prune_by_label(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["prune"] = NOTHING_PRUNED
    words = ("system", "prune", "-af", "--filter", "label=team=a=b", "--filter", "label!=keep")

    assert invoke(*words).exit_code == 0

    assert engine.only_call("prune")[1]["labels"] == (
        LabelFilter(key="team", value="a=b"),
        LabelFilter(key="keep", negated=True),
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--filter", "dangling=true"), "known are until=TIME, label=KEY[=VALUE] and label!=KEY"),
        (("--filter", "until=soon"), "'soon' is not a time"),
        (("--filter", "until=999999999999h"), "is not a time"),
        (("--filter", "until=1h", "--filter", "until=2h"), "until is given twice"),
        (("--filter", "label="), "unknown filter 'label='"),
        (("--filter", "label=x"), "use it with --all"),
    ],
)
def test_wrong_prune_filters(
    invoke: Invoke, engine: FakeEngine, words: tuple[str, ...], said: str
) -> None:
    result = invoke("system", "prune", "-f", *words)

    assert result.exit_code == 2
    assert said in result.stderr
    assert engine.calls == []


def test_a_prune_names_the_images_that_go(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["prune"] = PruneReport(
        blobs=(),
        snapshots=(),
        cache_records=(),
        cache_mounts=0,
        freed_bytes=10,
        images=(NAME,),
    )

    told = invoke("system", "prune", "-an").stdout
    document = json.loads(invoke("system", "prune", "-an", "--json").stdout)

    assert told == "untagged: app:1.0\nwould remove 1 images: 10B\n"
    assert document["names"] == [NAME]
    assert document["images"] == 1


def test_a_dry_prune_does_not_ask(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["prune"] = NOTHING_PRUNED

    assert invoke("system", "prune", "-n").stdout == "would remove nothing: 0B\n"


ISSUE = Issue(
    code="blob-content",
    kind=Kind.BLOB,
    subject=str(DIGEST),
    message="its content has another digest",
    images=("app:1", "web:2"),
)


def fsck_report(*issues: Issue, repair: RepairReport | None = None) -> FsckReport:
    return FsckReport(blobs=12, snapshots=3, issues=issues, repair=repair)


def test_fsck_of_a_whole_store(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["fsck"] = fsck_report()

    result = invoke("system", "fsck")

    assert result.exit_code == 0
    assert result.stdout == "checked 12 blobs and 3 snapshots: everything is whole\n"
    assert result.stderr == ""
    assert engine.only_call("fsck") == ((), {"repair": False})


def test_fsck_tells_each_problem_in_a_line(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["fsck"] = fsck_report(ISSUE)

    result = invoke("system", "fsck")

    assert result.exit_code == 5
    assert result.stdout.splitlines() == [
        f"blob-content {DIGEST}: its content has another digest [app:1, web:2]",
        "checked 12 blobs and 3 snapshots: 1 problem",
    ]
    assert "imagekit system fsck --repair" in result.stderr


def test_fsck_as_json(invoke: Invoke, engine: FakeEngine) -> None:
    engine.answers["fsck"] = fsck_report(ISSUE)

    result = invoke("system", "fsck", "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 5
    assert document["whole"] is False
    assert document["issues"] == [
        {
            "code": "blob-content",
            "kind": "blob",
            "subject": str(DIGEST),
            "message": "its content has another digest",
            "images": ["app:1", "web:2"],
        }
    ]


@pytest.mark.parametrize(("left", "exit_code"), [((), 0), ((ISSUE,), 5)])
def test_fsck_tells_what_it_repaired(
    invoke: Invoke, engine: FakeEngine, left: tuple[Issue, ...], exit_code: int
) -> None:
    repair = RepairReport(
        blobs=(str(DIGEST),),
        snapshots=("a", "b"),
        containers=(),
        rows=0,
        restored=(str(DIGEST),),
        lost=("app:1",),
        incomplete=(),
        left=left,
    )
    engine.answers["fsck"] = fsck_report(ISSUE, repair=repair)

    result = invoke("system", "fsck", "--repair")

    lines = result.stdout.splitlines()
    assert result.exit_code == exit_code
    assert lines[1:4] == [
        "removed 1 blob, 2 snapshots",
        "restored 1 blob from its files",
        "removed image app:1; pull or build it again",
    ]
    assert len(lines) == 5 + len(left)
    assert engine.only_call("fsck") == ((), {"repair": True})
