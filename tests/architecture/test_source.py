"""What the source itself must keep: one place for the environment, no print, documented names."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import imagekit
from imagekit.base.errors import (
    CorruptionError,
    HostError,
    ImagekitError,
    RemoteError,
    UserError,
)

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "imagekit").rglob("*.py"))
BRANCHES = (UserError, HostError, RemoteError, CorruptionError)
ROOMS = sorted(
    path.name for path in (ROOT / "imagekit").iterdir() if (path / "__init__.py").exists()
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules_where(*allowed: str) -> list[Path]:
    """Return the modules outside of ``allowed`` files and folders."""
    return [path for path in MODULES if not name_of(path).startswith(allowed)]


def calls_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def attributes_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(paths: list[Path], names: set[str], of: Callable[[Path], Iterator[str]]) -> list[str]:
    return [f"{name_of(path)}: {found}" for path in paths for found in names & set(of(path))]


def test_only_the_command_line_prints_and_exits() -> None:
    # The supervisor is the main program of a process of its own, which nobody reads.
    paths = modules_where("imagekit/cli/", "imagekit/__main__.py", "imagekit/containers/supervisor")

    assert offenders(paths, {"print", "input", "sys.exit", "exit", "breakpoint"}, calls_of) == []
    assert offenders(MODULES, {"breakpoint", "exit", "quit"}, calls_of) == []


def test_only_the_settings_read_the_environment() -> None:
    names = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}

    assert offenders(modules_where("imagekit/config.py"), names, attributes_of) == []


def test_every_module_says_what_it_is() -> None:
    assert MODULES
    assert [
        name_of(path)
        for path in MODULES
        if (tree := ast.parse(path.read_bytes())).body and not ast.get_docstring(tree)
    ] == []


def all_modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(imagekit.__path__, "imagekit."):
        if not module.name.endswith("__main__"):
            yield module.name


def all_errors() -> list[type[ImagekitError]]:
    for name in all_modules():
        importlib.import_module(name)
    found: list[type[ImagekitError]] = [ImagekitError]
    for kind in found:
        found.extend(one for one in kind.__subclasses__() if one not in found)
    return [kind for kind in found if kind.__module__.startswith("imagekit.")]


def test_every_code_means_one_error() -> None:
    meanings: dict[str, list[str]] = {}
    for kind in all_errors():
        # A class without a code of its own is its parent in a special place.
        if "code" in vars(kind):
            meanings.setdefault(kind.code, []).append(f"{kind.__module__}.{kind.__name__}")

    assert {code: kinds for code, kinds in meanings.items() if len(kinds) > 1} == {}


def test_codes_are_kebab_case() -> None:
    codes = {kind.code for kind in all_errors()}

    assert {
        code for code in codes if code != code.lower() or not code.replace("-", "").isalnum()
    } == set()


def test_every_error_is_in_one_branch() -> None:
    """The base of a room may stand above the branches; what is raised has one exit code."""
    raised = [kind for kind in all_errors() if not kind.__subclasses__()]

    assert raised
    assert [
        kind.__name__
        for kind in raised
        if len([branch for branch in BRANCHES if issubclass(kind, branch)]) != 1
    ] == []


def test_every_error_is_documented() -> None:
    assert [kind.__name__ for kind in all_errors() if not vars(kind).get("__doc__")] == []


@pytest.mark.parametrize(
    "name",
    [
        "imagekit.engine",
        "imagekit.build.request",
        "imagekit.containers.request",
        "imagekit.containers.containers",
        "imagekit.base.events",
        "imagekit.base.errors",
        "imagekit.images.local",
        "imagekit.oci.reference",
        "imagekit.oci.digest",
        "imagekit.oci.platform",
        "imagekit.oci.content",
    ],
)
def test_the_public_api_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    missing = []
    for class_name, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ != name or class_name.startswith("_"):
            continue
        if not vars(kind).get("__doc__"):
            missing.append(class_name)
        for member_name, member in vars(kind).items():
            is_method = callable(member) or isinstance(
                member, property | classmethod | staticmethod
            )
            if is_method and not member_name.startswith("_") and not inspect.getdoc(member):
                missing.append(f"{class_name}.{member_name}")

    assert missing == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_holds(room: str) -> None:
    module = importlib.import_module(f"imagekit.{room}")

    assert module.__doc__
    # The Dockerfile language is also a library of its own; its names load when they are used.
    assert room == "dockerfile" or not getattr(module, "__all__", ())
