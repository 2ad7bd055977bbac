"""What imagekit builds keeps the rules of the OCI image specification, read anew from its text.

The checker here shares nothing with imagekit: it is JSON, hashes and the specification 1.0.
Source: OCI image-spec descriptor.md, manifest.md, image-index.md, config.md, image-layout.md.
"""

import gzip
import hashlib
import json
import re
import subprocess
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.compat.conftest import Machine

pytestmark = pytest.mark.root

DIGEST = re.compile(r"sha256:[a-f0-9]{64}\Z")
MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\Z"
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
REF_NAME = re.compile(r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+)*\Z")
ENV = re.compile(r"[^=]+=.*\Z", re.DOTALL)
PORT = re.compile(r"\d+(/(tcp|udp))?\Z")
LAYER_TYPES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def strict_json(raw: bytes) -> dict[str, Any]:
    """Decode without duplicate keys, which decoders resolve differently."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), "duplicate key"
        return dict(pairs)

    value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    assert isinstance(value, dict)
    return value


def has_fields(value: dict[str, Any], needed: dict[str, type], optional: dict[str, type]) -> None:
    """The fields that must be there are, nothing unknown is, all have their type, none is null."""
    assert set(needed) <= set(value), f"missing {set(needed) - set(value)}"
    known = needed | optional
    assert set(value) <= set(known), f"unknown {set(value) - set(known)}"
    for key, content in value.items():
        assert type(content) is known[key], f"{key}: {content!r}"


def check_strings(values: Collection[Any]) -> None:
    assert all(type(value) is str for value in values)


class Checker:
    """Checks an image layout directory; ``checked`` counts what was looked at."""

    def __init__(self, layout: Path) -> None:
        self.layout = layout
        self.seen: set[str] = set()

    def layout_file(self) -> None:
        document = strict_json((self.layout / "oci-layout").read_bytes())
        assert document == {"imageLayoutVersion": "1.0.0"}

    def descriptor(self, value: dict[str, Any], media_types: Collection[str]) -> bytes:
        """Check a descriptor and return the content it points to, checked against it."""
        has_fields(
            value,
            {"mediaType": str, "digest": str, "size": int},
            {"annotations": dict, "platform": dict, "urls": list, "artifactType": str, "data": str},
        )
        assert MEDIA_TYPE.match(value["mediaType"])
        assert value["mediaType"] in media_types
        assert DIGEST.match(value["digest"])
        self.annotations(value)
        content: bytes = (self.layout / "blobs" / "sha256" / value["digest"][7:]).read_bytes()
        assert len(content) == value["size"]
        assert "sha256:" + hashlib.sha256(content).hexdigest() == value["digest"]
        self.seen.add(value["digest"])
        return content

    def annotations(self, value: dict[str, Any]) -> None:
        annotations = value.get("annotations", {})
        check_strings([*annotations, *annotations.values()])
        assert "" not in annotations

    def index(self, raw: bytes) -> list[dict[str, Any]]:
        """Check an index; return the configs of its manifests."""
        document = strict_json(raw)
        has_fields(
            document,
            {"schemaVersion": int, "manifests": list},
            {"mediaType": str, "annotations": dict},
        )
        assert document["schemaVersion"] == 2
        assert document.get("mediaType", INDEX) == INDEX
        self.annotations(document)
        configs = []
        for entry in document["manifests"]:
            name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
            assert name is None or REF_NAME.match(name)
            configs.append(self.manifest(self.descriptor(entry, [MANIFEST])))
        return configs

    def manifest(self, raw: bytes) -> dict[str, Any]:
        document = strict_json(raw)
        has_fields(
            document,
            {"schemaVersion": int, "config": dict, "layers": list},
            {"mediaType": str, "annotations": dict, "artifactType": str, "subject": dict},
        )
        assert document["schemaVersion"] == 2
        assert document.get("mediaType", MANIFEST) == MANIFEST
        self.annotations(document)
        config = self.config(self.descriptor(document["config"], [CONFIG]))
        assert document["layers"], "at least one layer"
        layers = [self.descriptor(layer, LAYER_TYPES) for layer in document["layers"]]
        diff_ids = []
        for layer, content in zip(document["layers"], layers, strict=True):
            packed = layer["mediaType"].endswith("gzip")
            assert not layer["mediaType"].endswith("zstd")
            plain = gzip.decompress(content) if packed else content
            diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
        assert config["rootfs"]["diff_ids"] == diff_ids
        return config

    def config(self, raw: bytes) -> dict[str, Any]:
        document = strict_json(raw)
        has_fields(
            document,
            {"architecture": str, "os": str, "rootfs": dict},
            {"created": str, "author": str, "config": dict, "history": list, "variant": str},
        )
        assert document["architecture"] in ("amd64", "arm64", "arm", "386", "riscv64", "ppc64le")
        assert document["os"] == "linux"
        assert TIME.match(document["created"])
        has_fields(document["rootfs"], {"type": str, "diff_ids": list}, {})
        assert document["rootfs"]["type"] == "layers"
        assert all(DIGEST.match(diff_id) for diff_id in document["rootfs"]["diff_ids"])
        for entry in document["history"]:
            has_fields(
                entry,
                {},
                {"created": str, "author": str, "created_by": str, "comment": str,
                 "empty_layer": bool},
            )  # fmt: skip
            assert TIME.match(entry["created"])
        layers = [entry for entry in document["history"] if not entry.get("empty_layer")]
        assert len(layers) == len(document["rootfs"]["diff_ids"])
        self.container_config(document.get("config", {}))
        return document

    def container_config(self, value: dict[str, Any]) -> None:
        has_fields(
            value,
            {},
            {
                "User": str, "ExposedPorts": dict, "Env": list, "Entrypoint": list, "Cmd": list,
                "Volumes": dict, "WorkingDir": str, "Labels": dict, "StopSignal": str,
                "ArgsEscaped": bool,
                # Reserved by config.md for docker, which gives them their meaning.
                "Healthcheck": dict, "OnBuild": list, "Shell": list,
            },
        )  # fmt: skip
        assert all(PORT.match(port) for port in value.get("ExposedPorts", {}))
        assert all(ENV.match(line) for line in value.get("Env", []))
        for name in ("ExposedPorts", "Volumes"):
            assert all(content == {} for content in value.get(name, {}).values())
        for name in ("Env", "Entrypoint", "Cmd", "OnBuild", "Shell"):
            check_strings(value.get(name, []))
        check_strings(value.get("Labels", {}).values())


def layout_of(machine: "Machine", names: list[str], directory: Path) -> Path:
    archive, layout = directory / "image.tar", directory / "layout"
    machine.engine.save(names, archive)
    layout.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", layout], check=True)
    return layout


def test_a_saved_image_keeps_every_rule(machine: "Machine", tmp_path: Path) -> None:
    layout = layout_of(machine, ["rich:1", "base:1"], tmp_path)
    checker = Checker(layout)

    checker.layout_file()
    rich, base = checker.index((layout / "index.json").read_bytes())

    assert {f"sha256:{path.name}" for path in (layout / "blobs/sha256").iterdir()} == checker.seen
    assert rich["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert rich["config"]["Volumes"] == {"/data": {}}
    assert rich["config"]["Healthcheck"] == {"Test": ["CMD", "true"], "Interval": 5_000_000_000}
    assert rich["config"]["Labels"] == {"org.example.a": "b"}
    assert rich["rootfs"]["diff_ids"][:1] == base["rootfs"]["diff_ids"]


def test_a_committed_container_keeps_every_rule(machine: "Machine", tmp_path: Path) -> None:
    from imagekit.containers.request import RunRequest
    from imagekit.sandbox.spec import NetworkMode

    request = RunRequest(
        image="base:1", command=("sh", "-c", "echo > /new"), network=NetworkMode.NONE
    )
    done = machine.engine.containers.run(request)
    machine.engine.containers.commit(
        done.id, "committed:1", author="Ann <ann@example.org>", message="why",
        changes=("CMD echo hi", "EXPOSE 80", "LABEL a=b"),
    )  # fmt: skip
    machine.engine.containers.remove(done.id)
    layout = layout_of(machine, ["committed:1"], tmp_path)

    (config,) = Checker(layout).index((layout / "index.json").read_bytes())

    assert config["history"][-1]["author"] == "Ann <ann@example.org>"
    assert config["history"][-1]["comment"] == "why"


def test_layers_are_tar_archives_of_relative_unique_names(
    machine: "Machine", tmp_path: Path
) -> None:
    layout = layout_of(machine, ["rich:1"], tmp_path)
    index = strict_json((layout / "index.json").read_bytes())
    manifest = strict_json(
        (layout / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes()
    )

    for layer in manifest["layers"]:
        with tarfile.open(layout / "blobs/sha256" / layer["digest"][7:]) as tar:
            names = tar.getnames()
            assert len(set(names)) == len(names)
            assert not [name for name in names if name.startswith("/") or ".." in name.split("/")]
            for member in tar:
                if member.name.rpartition("/")[2].startswith(".wh."):
                    assert (member.isreg(), member.size) == (True, 0)
