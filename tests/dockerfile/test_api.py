"""The names of the package: lazy, complete, and the same whatever was imported first."""

import subprocess
import sys

import pytest

import imagekit.dockerfile as room
from imagekit.dockerfile import dump, expand, parse, render


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("name", room.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert callable(getattr(room, name))


def test_exports_are_sorted_and_nothing_else_is() -> None:
    assert sorted(room.__all__) == room.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing


def test_names_of_functions_and_modules_can_be_called() -> None:
    parsed = parse("FROM a\n", file_name="x")

    assert parsed.file_name == "x"
    assert render(parsed) == "FROM a\n"
    assert dump("FROM a") == '(from "a")'
    assert expand("$a", {"a": "b"}) == "b"


@pytest.mark.parametrize(
    "first", ["import imagekit.dockerfile.parse", "from imagekit.dockerfile.parse import parse", ""]
)
def test_parse_works_in_any_order_of_imports(first: str) -> None:
    code = f"{first}\nfrom imagekit.dockerfile import parse\nprint(parse('FROM a').stages[0].index)"

    assert _python(code) == "0"


def test_importing_the_package_loads_none_of_it() -> None:
    code = "import sys, imagekit.dockerfile; print([m for m in sys.modules if 'dockerfile.' in m])"

    assert _python(code) == "[]"


def test_parsing_a_plain_file_loads_no_module_for_rare_things() -> None:
    code = (
        "import sys; from imagekit.dockerfile.parse import parse\n"
        "parse('FROM a AS b\\nRUN x --y\\nCOPY --from=b c d\\nENV a=b\\n')\n"
        "rare = ('mounts', 'chmod', 'ports', 'heredocs', 'suggestions', 'values', 'quoting',"
        " 'substitution', 'lexer')\n"
        "print([name for name in rare if f'imagekit.dockerfile.{name}' in sys.modules])"
    )

    assert _python(code) == "[]"
