"""Every input that the fuzzer was given or kept (testdata/layers) still keeps the promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.layers.apply import WhiteoutForm
from tests.fuzz import targets
from tests.fuzz.run import CORPUS


def inputs(folder: str) -> list[Path]:
    return sorted((CORPUS / folder).iterdir())


@pytest.fixture(scope="module")
def applying() -> Iterator[targets.Applying]:
    applying = targets.Applying()
    yield applying
    applying.close()


def name_of(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", inputs("archives"), ids=name_of)
def test_read(path: Path) -> None:
    targets.read(path.read_bytes())


@pytest.mark.root
@pytest.mark.parametrize("form", targets.FORMS, ids=lambda form: form.value if form else "add")
def test_unpacking_touches_nothing_else(
    form: WhiteoutForm | None, applying: targets.Applying
) -> None:
    for path in inputs("archives"):
        applying.in_form(path.read_bytes(), form)


@pytest.mark.root
@pytest.mark.parametrize("path", inputs("archives"), ids=name_of)
def test_overlay_and_plain_trees_agree(path: Path, applying: targets.Applying) -> None:
    applying.compare(path.read_bytes())


@pytest.mark.parametrize("path", inputs("packed"), ids=name_of)
def test_decompression(path: Path) -> None:
    targets.decompress(path.read_bytes())


@pytest.mark.parametrize("path", inputs("documents"), ids=name_of)
def test_documents(path: Path) -> None:
    targets.documents(path.read_bytes())


def test_the_corpus_stays_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]

    assert len(inputs("archives")) > 30
    assert sum(path.stat().st_size for path in files) < 300_000
