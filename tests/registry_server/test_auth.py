"""Users from an htpasswd file, anonymous pulls, the read-only registry."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import pytest

from registry_server.auth import Htpasswd, parse_htpasswd
from registry_server.errors import SettingsError
from registry_server.testing import running_registry

if TYPE_CHECKING:
    from tests.registry_server.conftest import Api

BOOKS = "b\u00fccher"


def entry(user: str, password: str, prefix: str = "2y") -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()
    return f"{user}:${prefix}${hashed.removeprefix('$2b$')}"


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


ANN = basic("ann", "secret:with:colons")


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    ann, bob = entry("ann", "secret:with:colons"), entry("bob", BOOKS, "2b")
    path.write_text(f"# people\n{ann}\n\n{bob}\n")
    return path


@pytest.fixture
def private(tmp_path: Path, htpasswd: Path, make_api: "type[Api]") -> "Iterator[Api]":
    with running_registry(tmp_path / "registry", htpasswd=htpasswd) as registry:
        yield make_api(registry.host)


@pytest.fixture
def open_for_pull(tmp_path: Path, htpasswd: Path, make_api: "type[Api]") -> "Iterator[Api]":
    with running_registry(
        tmp_path / "registry", htpasswd=htpasswd, anonymous_pull=True
    ) as registry:
        api = make_api(registry.host)
        answer = api("PUT", "/v2/a/manifests/v1", b"{}", {**ANN, "Content-Type": "a/b"})
        assert answer.status == 201
        yield api


@pytest.mark.parametrize("path", ["/v2/", "/v2/a/tags/list", "/v2/_catalog", "/v2/a/manifests/v1"])
def test_anonymous_is_challenged(private: "Api", path: str) -> None:
    answer = private("GET", path)

    assert (answer.status, answer.error_code) == (401, "UNAUTHORIZED")
    assert answer.header("WWW-Authenticate").startswith('Basic realm="')


@pytest.mark.parametrize("headers", [ANN, basic("bob", BOOKS)])
def test_user_is_let_in(private: "Api", headers: dict[str, str]) -> None:
    for _ in range(2):
        assert private("GET", "/v2/", headers=headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        basic("ann", "wrong"),
        basic("ann", ""),
        basic("", "secret:with:colons"),
        basic("nobody", "secret:with:colons"),
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic"},
        {"Authorization": "Bearer token"},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"ann:secret\0x").decode()},
    ],
)
def test_wrong_credentials_are_refused_everywhere(
    open_for_pull: "Api", headers: dict[str, str]
) -> None:
    for path in ("/v2/", "/v2/a/manifests/v1"):
        answer = open_for_pull("GET", path, headers=headers)
        assert (answer.status, answer.error_code) == (401, "UNAUTHORIZED")


def test_password_accepted_once_does_not_open_for_another(private: "Api") -> None:
    private("GET", "/v2/", headers=ANN)

    assert private("GET", "/v2/", headers=basic("ann", "other")).status == 401
    assert private("GET", "/v2/", headers=basic("bob", "secret:with:colons")).status == 401


@pytest.mark.parametrize("headers", [{}, basic("", "")])
def test_anonymous_may_pull_but_not_push(open_for_pull: "Api", headers: dict[str, str]) -> None:
    assert open_for_pull("GET", "/v2/a/manifests/v1", headers=headers).status == 200
    assert open_for_pull("GET", "/v2/a/tags/list", headers=headers).status == 200
    for method in ("PUT", "DELETE"):
        body = b"{}" if method == "PUT" else None
        answer = open_for_pull(method, "/v2/a/manifests/v1", body, headers)
        assert answer.status == 401
    assert open_for_pull("POST", "/v2/a/blobs/uploads/", headers=headers).status == 401


def test_root_challenges_even_when_pulls_are_open(open_for_pull: "Api") -> None:
    """docker decides at the root whether to use its credentials at all."""
    assert open_for_pull("GET", "/v2/").status == 401
    assert open_for_pull("GET", "/v2/", headers=ANN).status == 200


def test_changed_file_is_read_again(private: "Api", htpasswd: Path) -> None:
    assert private("GET", "/v2/", headers=ANN).status == 200

    replacement = htpasswd.with_name("new")
    replacement.write_text(entry("cat", "fresh") + "\n")
    replacement.rename(htpasswd)

    assert private("GET", "/v2/", headers=ANN).status == 401
    assert private("GET", "/v2/", headers=basic("cat", "fresh")).status == 200


@pytest.mark.parametrize(
    "line",
    [
        "ann",
        "ann:",
        ":$2y$04$x",
        "ann:plain",
        "ann:$apr1$abc$def",
        "ann:{SHA}x",
        "ann:$2y$04$short",
    ],
)
def test_entry_of_another_format_is_refused_without_showing_it(tmp_path: Path, line: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"{entry('x', 'y')}\n{line}\n")

    with pytest.raises(SettingsError) as caught:
        parse_htpasswd(path)

    assert "line 2" in caught.value.message
    assert "apr1" not in caught.value.message


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read"):
        Htpasswd(tmp_path / "absent")


def test_read_only_registry_serves_and_refuses_changes(
    tmp_path: Path, make_api: "type[Api]"
) -> None:
    root = tmp_path / "registry"
    with running_registry(root) as registry:
        api = make_api(registry.host)
        digest = api.push_blob("a", b"content")
        api.push_manifest("a", api.image("a"), tag="v1")
    before = {path: os.stat(path).st_mtime_ns for path in root.rglob("*")}

    with running_registry(root, read_only=True) as registry:
        api = make_api(registry.host)
        assert api("GET", f"/v2/a/blobs/{digest}").body == b"content"
        assert api("HEAD", "/v2/a/manifests/v1").status == 200
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("PUT", "/v2/a/manifests/v2"),
            ("DELETE", "/v2/a/manifests/v1"),
            ("DELETE", f"/v2/a/blobs/{digest}"),
        ):
            answer = api(method, path, b"{}")
            assert (answer.status, answer.error_code) == (405, "UNSUPPORTED")

    assert {path: os.stat(path).st_mtime_ns for path in root.rglob("*")} == before
