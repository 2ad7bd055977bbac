from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from imagekit.oci import mediatype
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.manifest import Manifest, parse_document
from imagekit.oci.reference import Reference
from imagekit.registry.client import RegistryClient
from imagekit.registry.memory import MemoryContent
from imagekit.registry.referrers import entry_of, fallback_tag, with_entry
from imagekit.registry.repository import Repository
from imagekit.registry.transfer import transfer
from registry_server.testing import running_registry

MakeClient = Callable[..., RegistryClient]
SBOM = "application/vnd.example.sbom"


def _image(content: MemoryContent) -> Descriptor:
    manifest = Manifest.build(config=content.add(b"{}", mediatype.OCI_CONFIG), layers=[])
    return content.add(manifest.raw, manifest.media_type)


def _artifact(content: MemoryContent, subject: Descriptor, kind: str) -> Descriptor:
    config = content.add(b"{}", mediatype.OCI_EMPTY)
    document = msgspec.json.decode(Manifest.build(config=config, layers=[]).raw)
    document["artifactType"] = kind
    document["annotations"] = {"made": "today"}
    document["subject"] = {
        "mediaType": subject.media_type,
        "digest": str(subject.digest),
        "size": subject.size,
    }
    return content.add(msgspec.json.encode(document), mediatype.OCI_MANIFEST)


def _push_two_artifacts(repository: Repository) -> tuple[Descriptor, list[Descriptor]]:
    content = MemoryContent()
    image = _image(content)
    artifacts = [_artifact(content, image, kind) for kind in (SBOM, "application/other")]
    for one in (image, *artifacts, artifacts[0]):
        transfer(content, repository, one)
    return image, artifacts


def _check(repository: Repository) -> None:
    image, artifacts = _push_two_artifacts(repository)

    everything = repository.referrers(image.digest)
    sboms = repository.referrers(image.digest, artifact_type=SBOM)

    assert {one.digest for one in everything} == {one.digest for one in artifacts}
    assert [(one.digest, one.artifact_type) for one in sboms] == [(artifacts[0].digest, SBOM)]
    assert sboms[0].annotations == {"made": "today"}
    assert repository.referrers(Digest.of(b"absent")) == ()


@pytest.mark.peer
def test_referrers_are_kept_in_a_tag_without_the_api(
    docker_registry: str, make_client: MakeClient
) -> None:
    repository = make_client().repository(Reference.parse(f"{docker_registry}/referred"))

    _check(repository)

    assert len(list(repository.tags())) == 1


def test_referrers_are_listed_by_the_bundled_registry(
    tmp_path: Path, make_client: MakeClient
) -> None:
    with running_registry(tmp_path / "registry") as registry:
        _check(make_client().repository(Reference.parse(f"{registry.host}/referred")))


def test_the_tag_of_a_long_digest_is_cut() -> None:
    assert fallback_tag(Digest.of(b"")) == f"sha256-{Digest.of(b'').hex}"
    assert len(fallback_tag(Digest.of(b"", "sha512"))) == len("sha512-") + 64


def test_an_entry_is_listed_once_with_the_type_of_its_config() -> None:
    content = MemoryContent()
    manifest = Manifest.parse(content.open(_image(content)).read())
    entry = entry_of(manifest)

    first = with_entry(None, entry)

    assert entry.artifact_type == mediatype.OCI_CONFIG
    assert first is not None
    assert with_entry(first, replace(entry, annotations={})) is None
    assert entry_of(parse_document(first.raw, first.media_type)).artifact_type is None
