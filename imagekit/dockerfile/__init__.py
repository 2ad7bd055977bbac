"""The Dockerfile language: text in, frozen values out. Nothing here reads, writes or looks up.

    parse(text)                     text -> Dockerfile with its Stage values
    render(dockerfile)              the other way: a file that parses to the same
    dump(text)                      the statements in the form of BuildKit's parser tests
    stage_graph(dockerfile)         stages, and what each takes from where
    expand(word, variables)         quotes, escapes, $variables; expand_document for heredocs
    resolve_mounts                  RUN --mount
    parse_port, parse_chmod, ...    EXPOSE words, --chmod, durations, signals, sizes
    IgnoreMatcher                   .dockerignore and --exclude
    DockerfileError                 what is wrong, where, and what else is; render_errors

Each name is imported when it is first used, so that ``import imagekit.dockerfile`` costs nothing.
Inside, the steps are source (physical to logical lines), statements (a line split as its
instruction wants it), flags, typed, parse. Everything follows BuildKit, its quirks included: a
Dockerfile that builds there means the same here.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagekit.dockerfile.chmod import Chmod, parse_chmod
    from imagekit.dockerfile.directives import Directives, detect_syntax
    from imagekit.dockerfile.document import Dockerfile, ParseWarning, Stage
    from imagekit.dockerfile.dump import dump
    from imagekit.dockerfile.errors import (
        DockerfileError,
        DockerfileSyntaxError,
        ExpansionError,
        MountError,
        PatternError,
        Span,
        StageError,
        ValueFormatError,
        render_errors,
        render_excerpt,
    )
    from imagekit.dockerfile.graph import StageGraph, stage_graph
    from imagekit.dockerfile.ignore import IgnoreMatcher
    from imagekit.dockerfile.mounts import RunMount, resolve_mounts
    from imagekit.dockerfile.parse import parse, parse_trigger
    from imagekit.dockerfile.ports import PortRange, parse_port
    from imagekit.dockerfile.render import render
    from imagekit.dockerfile.stages import find_target, global_scope, reachable_stages
    from imagekit.dockerfile.words import expand, expand_document, expand_words

_MODULES = {
    "chmod": ("Chmod", "parse_chmod"),
    "directives": ("Directives", "detect_syntax"),
    "document": ("Dockerfile", "ParseWarning", "Stage"),
    "dump": ("dump",),
    "errors": (
        "DockerfileError",
        "DockerfileSyntaxError",
        "ExpansionError",
        "MountError",
        "PatternError",
        "Span",
        "StageError",
        "ValueFormatError",
        "render_errors",
        "render_excerpt",
    ),
    "graph": ("StageGraph", "stage_graph"),
    "ignore": ("IgnoreMatcher",),
    "mounts": ("RunMount", "resolve_mounts"),
    "parse": ("parse", "parse_trigger"),
    "ports": ("PortRange", "parse_port"),
    "render": ("render",),
    "stages": ("find_target", "global_scope", "reachable_stages"),
    "words": ("expand", "expand_document", "expand_words"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Chmod",
    "Directives",
    "Dockerfile",
    "DockerfileError",
    "DockerfileSyntaxError",
    "ExpansionError",
    "IgnoreMatcher",
    "MountError",
    "ParseWarning",
    "PatternError",
    "PortRange",
    "RunMount",
    "Span",
    "Stage",
    "StageError",
    "StageGraph",
    "ValueFormatError",
    "detect_syntax",
    "dump",
    "expand",
    "expand_document",
    "expand_words",
    "find_target",
    "global_scope",
    "parse",
    "parse_chmod",
    "parse_port",
    "parse_trigger",
    "reachable_stages",
    "render",
    "render_errors",
    "render_excerpt",
    "resolve_mounts",
    "stage_graph",
]


def __getattr__(name: str) -> object:
    """Import the module that ``name`` lives in (PEP 562).

    ``parse``, ``dump`` and ``render`` are also names of modules, which can be called for that
    reason: the import system may have put the module here first.
    """
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    return value
