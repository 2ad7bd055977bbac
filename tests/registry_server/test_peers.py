"""skopeo as a judge: what it pushes comes back equal, over every setting that it meets."""

import base64
import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import bcrypt
import pytest

from imagekit.oci.digest import Digest
from registry_server.testing import running_registry

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed"),
]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def skopeo(*arguments: str) -> str:
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_layout(directory: Path, *, layer_bytes: int = 3_000_000) -> str:
    """Write an OCI layout with an index of two platforms, tagged "app"; return its digest."""

    def blob(content: bytes, media_type: str, **extra: object) -> dict[str, object]:
        digest = Digest.of(content)
        path = directory / "blobs" / "sha256" / digest.hex
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return {"mediaType": media_type, "digest": str(digest), "size": len(content), **extra}

    manifests = []
    for architecture in ("amd64", "arm64"):
        content = os.urandom(layer_bytes)
        layer = gzip.compress(content, 1, mtime=0)  # packed, or skopeo would pack it itself
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(content))]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": blob(json.dumps(config).encode(), OCI_CONFIG),
            "layers": [blob(layer, OCI_LAYER)],
        }
        platform = {"architecture": architecture, "os": "linux"}
        manifests.append(blob(json.dumps(manifest).encode(), OCI_MANIFEST, platform=platform))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    named = blob(
        json.dumps(index).encode(),
        OCI_INDEX,
        annotations={"org.opencontainers.image.ref.name": "app"},
    )
    top = {"schemaVersion": 2, "manifests": [named]}
    (directory / "index.json").write_text(json.dumps(top))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return str(named["digest"])


def blobs_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "blobs/sha256").iterdir()}


def test_skopeo_copies_an_index_in_and_out(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    digest = write_layout(source)
    with running_registry(tmp_path / "registry") as registry:
        reference = f"docker://{registry.host}/team/app:1.0"

        skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{source}:app", reference)
        raw = skopeo("inspect", "--raw", "--tls-verify=false", reference)
        tags = json.loads(
            skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/team/app")
        )
        skopeo("copy", "--all", "--src-tls-verify=false", reference, f"oci:{target}:app")

    assert str(Digest.of(raw.encode())) == digest
    assert tags["Tags"] == ["1.0"]
    assert blobs_of(target) == blobs_of(source)


def test_skopeo_copies_between_repositories_and_deletes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_layout(source)
    with running_registry(tmp_path / "registry") as registry:
        first = f"docker://{registry.host}/team/app:1.0"
        second = f"docker://{registry.host}/other/copy:2.0"
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{source}:app", first)

        skopeo("copy", "--all", *plain, first, second)
        skopeo("delete", "--tls-verify=false", first)

        skopeo("inspect", "--tls-verify=false", second)
        gone = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", first], capture_output=True, check=False
        )
    assert gone.returncode != 0


def test_skopeo_converts_to_docker_schema_2(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_layout(source)
    with running_registry(tmp_path / "registry") as registry:
        reference = f"docker://{registry.host}/team/app:docker"
        skopeo("copy", "--format=v2s2", "--dest-tls-verify=false", f"oci:{source}:app", reference)

        raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", reference))

    assert raw["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"


@pytest.mark.parametrize("anonymous_pull", [False, True])
def test_skopeo_logs_in(tmp_path: Path, *, anonymous_pull: bool) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_layout(source, layer_bytes=1000)
    htpasswd = tmp_path / "htpasswd"
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(rounds=4)).decode()
    htpasswd.write_text(f"ann:{hashed}\n")
    with running_registry(
        tmp_path / "registry", htpasswd=htpasswd, anonymous_pull=anonymous_pull
    ) as registry:
        auth = {"auth": base64.b64encode(b"ann:secret").decode()}
        authfile, empty = tmp_path / "auth.json", tmp_path / "empty.json"
        authfile.write_text(json.dumps({"auths": {registry.host: auth}}))
        empty.write_text("{}")
        reference = f"docker://{registry.host}/team/app:1.0"
        copy = ["copy", "--all", "--dest-tls-verify=false", f"oci:{source}:app", reference]

        skopeo(*copy, "--dest-authfile", str(authfile))
        inspect = ["skopeo", "inspect", "--tls-verify=false", reference, "--authfile"]
        without = subprocess.run([*inspect, str(empty)], capture_output=True, check=False)
        push_without = subprocess.run(
            ["skopeo", "--insecure-policy", *copy, "--dest-authfile", str(empty)],
            capture_output=True,
            check=False,
        )

    assert (without.returncode == 0) == anonymous_pull
    assert push_without.returncode != 0
