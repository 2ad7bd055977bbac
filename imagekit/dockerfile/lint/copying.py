"""What COPY and ADD take from the build context, and whether the ignore file lets them have it.

Source: BuildKit frontend/dockerfile/dockerfile2llb/convert_copy.go and validations.go
(validateCopySourcePath); moby/patternmatcher (MatchesOrParentMatches).
"""

import posixpath
from collections.abc import Iterable, Sequence

from imagekit.dockerfile.errors import DockerfileSyntaxError
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.instructions import Add, Copy
from imagekit.dockerfile.lint import rules
from imagekit.dockerfile.lint.written import Checks
from imagekit.dockerfile.quoting import go_quote

_ROOTS = (".", "/")
_WHOLE_CONTEXT = ("*", "**", "**/*")


def check_sources(
    item: Copy | Add, sources: Iterable[str], ignore: IgnoreMatcher | None, checks: Checks
) -> None:
    """CopyIgnoredFile, for each expanded source in order.

    Raises:
        DockerfileSyntaxError: COPY is given an address.
    """
    is_add = isinstance(item, Add)
    is_context = isinstance(item, Add) or item.from_ is None
    for source in sources:
        if is_git(source) or is_url(source):
            if not is_add:
                what = "a git ref" if is_git(source) else "a URL"
                raise DockerfileSyntaxError(
                    f"source can't be {what} for COPY", hint="Use ADD for it."
                )
            continue
        path = clean(source)
        if is_context and ignore is not None and is_ignored(path, ignore):
            checks.report(
                rules.COPY_IGNORED_FILE,
                item.span,
                f"Attempting to {'Add' if is_add else 'Copy'} file {go_quote(path)} that is "
                "excluded by .dockerignore",
            )


def check_checksum(sources: Sequence[str]) -> None:
    """Refuse ``--checksum`` for anything but one address.

    Raises:
        DockerfileSyntaxError: there are several sources, or the one is of the build context.
    """
    if len(sources) != 1:
        raise DockerfileSyntaxError("checksum can't be specified for multiple sources")
    if not (is_url(sources[0]) or is_git(sources[0])):
        raise DockerfileSyntaxError("checksum requires HTTP(S) or Git sources")


def is_url(source: str) -> bool:
    """Return whether ADD would download ``source``, or clone it."""
    return source.startswith(("http://", "https://"))


def is_git(source: str) -> bool:
    """Return whether ADD would clone ``source``."""
    if source.startswith(("git@", "ssh://", "git://")):
        return True
    if not is_url(source):
        return False
    return source.partition("#")[0].partition("?")[0].endswith(".git")


def clean(path: str) -> str:
    """Return ``path`` as Go's ``filepath.Clean`` does."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def is_ignored(path: str, ignore: IgnoreMatcher) -> bool:
    """Return whether a pattern matches ``path`` or a directory above it.

    Never when a pattern re-includes something: that may be below ``path``. The context itself is
    ignored only by what matches everything.
    """
    if not ignore.patterns or ignore.has_negations:
        return False
    if path in _ROOTS and not any(one.text in _WHOLE_CONTEXT for one in ignore.patterns):
        return False
    candidates = (path, *_above(path))
    return any(one.matches(candidate) for one in ignore.patterns for candidate in candidates)


def _above(path: str) -> Iterable[str]:
    """The directories above ``path``; "" is above one that begins with a slash."""
    directory = posixpath.dirname(path)
    if not directory:
        return
    parts = ["", ""] if directory == "/" else directory.split("/")
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
