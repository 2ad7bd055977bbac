"""``imagekit convert``: what it asks the engine for and what it prints."""

import json

import pytest

from imagekit.images.convert import Conversion, DocumentFormat
from imagekit.images.errors import BlobMissingError
from imagekit.images.recompress import Recompressed
from imagekit.oci.descriptor import Descriptor
from imagekit.oci.digest import Digest
from imagekit.oci.mediatype import OCI_LAYER_GZIP, OCI_MANIFEST, Compression
from tests.cli.conftest import FakeEngine, Invoke

DIGEST = Digest.of(b"manifest")
LAYER = Descriptor(media_type=OCI_LAYER_GZIP, digest=Digest.of(b"old"), size=10)
CONVERSION = Conversion(
    descriptor=Descriptor(media_type=OCI_MANIFEST, digest=DIGEST, size=8),
    layers=(
        Recompressed(
            diff_id=Digest.of(b"tar"), source=LAYER, digest=Digest.of(b"new"), size=7, reused=False
        ),
    ),
)


@pytest.fixture(autouse=True)
def _answer(engine: FakeEngine) -> None:
    engine.answers["convert"] = CONVERSION


def test_the_result_is_named_and_its_digest_printed(invoke: Invoke, engine: FakeEngine) -> None:
    result = invoke("convert", "app:1", "app:2", "--compression", "zstd", "--level", "9")

    assert result.stdout == f"app:2: {DIGEST}\n"
    assert engine.only_call("convert") == (
        ("app:1", "app:2"),
        {"compression": Compression.ZSTD, "level": 9, "document_format": None, "force": False},
    )


def test_without_a_target_the_name_moves(invoke: Invoke, engine: FakeEngine) -> None:
    result = invoke("convert", "app:1", "--format", "docker", "--force", "-q")

    assert result.stdout == f"{DIGEST}\n"
    arguments, options = engine.only_call("convert")
    assert arguments == ("app:1", None)
    assert options["document_format"] is DocumentFormat.DOCKER
    assert (options["compression"], options["force"]) == (Compression.GZIP, True)


def test_json_tells_of_each_layer(invoke: Invoke) -> None:
    document = json.loads(invoke("convert", "app:1", "--json").stdout)

    assert (document["name"], document["digest"]) == ("app:1", str(DIGEST))
    assert document["layers"] == [
        {
            "diff_id": str(Digest.of(b"tar")), "from": str(LAYER.digest), "from_size": 10,
            "digest": str(Digest.of(b"new")), "size": 7, "reused": False,
        }
    ]  # fmt: skip


def test_wrong_words_and_errors(invoke: Invoke, engine: FakeEngine) -> None:
    assert invoke("convert", "app:1", "--compression", "lzma").exit_code == 2
    assert invoke("convert").exit_code == 2
    engine.answers["convert"] = BlobMissingError("layer x is not here", hint="Pull it again.")

    result = invoke("convert", "app:1")

    assert result.exit_code == 5
    assert result.stderr == "imagekit: error: layer x is not here\nhint: Pull it again.\n"
