import base64
import json
import stat
from pathlib import Path

import pytest

from imagekit.registry.auth import Credentials
from imagekit.registry.credentials import HUB_KEY, CredentialStore, run_helper
from imagekit.registry.errors import CredentialError


def _packed(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


def _store(tmp_path: Path, *documents: object, **more: object) -> CredentialStore:
    paths = []
    for number, document in enumerate(documents):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(document))
        paths.append(path)
    return CredentialStore(paths, **more)  # type: ignore[arg-type]  # by name


class Helper:
    """A credential helper in memory."""

    def __init__(self, **known: dict[str, str]) -> None:
        self.known = {key.replace("_", "."): value for key, value in known.items()}
        self.calls: list[tuple[str, str]] = []

    def __call__(self, name: str, verb: str, text: str) -> str:
        self.calls.append((name, verb))
        match verb:
            case "get":
                if text not in self.known:
                    raise CredentialError("credentials not found in native keychain")
                return json.dumps({"ServerURL": text, **self.known[text]})
            case "store":
                entry = json.loads(text)
                self.known[entry.pop("ServerURL")] = entry
            case "erase":
                del self.known[text]
        return ""


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        ("r.example", "r.example"),
        ("r.example:5000", "r.example:5000"),
        ("https://r.example/v2/", "r.example"),
        ("http://r.example/", "r.example"),
        (HUB_KEY, "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_every_spelling_of_a_key_is_found(key: str, domain: str, tmp_path: Path) -> None:
    store = _store(tmp_path, {"auths": {key: {"auth": _packed("ann:a:b")}}})

    assert store.find(domain) == Credentials(username="ann", password="a:b")
    assert store.find("other.example") is None


def test_the_longest_path_and_the_first_file_win(tmp_path: Path) -> None:
    store = _store(
        tmp_path,
        {"auths": {"r.example/team/app": {"auth": _packed("app:1")}}},
        {
            "auths": {
                "r.example": {"auth": _packed("host:2")},
                "r.example/team": {"auth": _packed("team:3")},
            }
        },
    )

    found = {
        path: found.username
        for path in ("team/app", "team/app2", "other", "")
        if (found := store.find("r.example", path))
    }

    assert found == {"team/app": "app", "team/app2": "team", "other": "host", "": "host"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "ann", "password": "x"}, Credentials(username="ann", password="x")),
        ({"registrytoken": "T"}, Credentials(registry_token="T")),
        ({"auth": _packed("<token>:ID")}, Credentials(identity_token="ID")),
        (
            {"auth": _packed("0000:"), "identitytoken": "ID"},
            Credentials(username="0000", identity_token="ID"),
        ),
        ({}, None),
        ({"auth": ""}, None),
    ],
)
def test_every_form_of_an_entry_is_read(
    entry: dict[str, str], expected: Credentials | None, tmp_path: Path
) -> None:
    assert _store(tmp_path, {"auths": {"r.example": entry}}).find("r.example") == expected


def test_absent_files_hold_nothing(tmp_path: Path) -> None:
    assert CredentialStore([tmp_path / "no" / "file"]).find("r.example") is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"auths": []}',
        '{"auths": {"r.example": {"auth": "s3cret!"}}}',
        "\xff",
        "[" * 9999,
    ],
)
def test_a_broken_file_is_told_without_its_content(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text, encoding="latin-1")

    with pytest.raises(CredentialError) as caught:
        CredentialStore([tmp_path / "config.json"]).find("r.example")

    assert "s3cret" not in str(caught.value)


def test_a_helper_is_asked_once(tmp_path: Path) -> None:
    helper = Helper(r_example={"Username": "ann", "Secret": "x"})
    store = _store(tmp_path, {"credHelpers": {"r.example": "one"}}, helper=helper)

    found = [store.find("r.example") for _ in range(3)]

    assert found == [Credentials(username="ann", password="x")] * 3
    assert helper.calls == [("one", "get")]


def test_a_host_s_helper_counts_more_than_the_store(tmp_path: Path) -> None:
    helper = Helper()
    document = {
        "credHelpers": {"r.example": "one"},
        "credsStore": "two",
        "auths": {"other.example": {"auth": _packed("ann:x")}},
    }
    store = _store(tmp_path, document, helper=helper)

    assert store.find("r.example") is None
    assert store.find("other.example") == Credentials(username="ann", password="x")
    assert helper.calls == [("one", "get"), ("two", "get")]


def test_login_keeps_the_rest_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.json"
    store = CredentialStore([path])
    store.login("docker.io", Credentials(username="ann", password="x"))
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "detachKeys": "ctrl-a"}))

    store.login("r.example", Credentials(identity_token="ID"))

    document = json.loads(path.read_text())
    assert document["detachKeys"] == "ctrl-a"
    assert document["auths"].keys() == {HUB_KEY, "r.example"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = CredentialStore([path])
    assert again.find("docker.io") == Credentials(username="ann", password="x")
    assert again.find("r.example") == Credentials(identity_token="ID")
    assert store.logout("docker.io")
    assert not store.logout("docker.io")
    assert store.find("docker.io") is None


def test_login_by_a_helper_leaves_no_secret_in_the_file(tmp_path: Path) -> None:
    helper = Helper()
    store = _store(tmp_path, {"credsStore": "keys"}, helper=helper)

    store.login("r.example", Credentials(username="ann", password="s3cret"))

    assert "s3cret" not in (tmp_path / "0.json").read_text()
    assert store.find("r.example") == Credentials(username="ann", password="s3cret")
    assert store.logout("r.example")
    assert helper.known == {}


def test_a_real_helper_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(
        "#!/bin/sh\nread server\n"
        'case $1 in get) echo "{\\"Username\\":\\"ann\\",\\"Secret\\":\\"$server\\"}" ;;\n'
        "*) echo s3cret; exit 1 ;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert json.loads(run_helper("test", "get", "r.example\n"))["Secret"] == "r.example"
    with pytest.raises(CredentialError) as caught:
        run_helper("test", "erase", "r.example")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "a b", "", "absent-helper"])
def test_a_helper_that_cannot_be_run_is_told(name: str) -> None:
    with pytest.raises(CredentialError):
        run_helper(name, "get", "r.example")
