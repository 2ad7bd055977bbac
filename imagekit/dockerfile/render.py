"""A parsed Dockerfile back to text.

Directives come first, in a fixed order; then each instruction as it stands in its file,
continuations and documents included, below its comments. A blank line is put in front of each
stage. What is lost is blank lines, empty comments, and comments that belong to no instruction.
Rendering what was rendered changes nothing.
"""

from imagekit.dockerfile.callable_module import make_callable
from imagekit.dockerfile.directives import DirectiveReader
from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.errors import DockerfileSyntaxError
from imagekit.dockerfile.instructions import AnyInstruction

make_callable(__name__)


def render(dockerfile: Dockerfile) -> str:
    """Return a file that parses to the same instructions, comments and directives."""
    lines = _directives(dockerfile)
    for arg in dockerfile.global_args:
        lines += _instruction(arg)
    for stage in dockerfile.stages:
        if lines and lines[-1]:
            lines.append("")
        for instruction in (stage.base, *stage.instructions):
            lines += _instruction(instruction)
    return "\n".join(lines) + "\n"


def _directives(dockerfile: Dockerfile) -> list[str]:
    given = dockerfile.directives
    lines = []
    if given.syntax is not None:
        lines.append(f"# syntax={given.syntax}")
    if given.escape != "\\":
        lines.append(f"# escape={given.escape}")
    if given.check is not None:
        lines.append(f"# check={given.check}")
    first = dockerfile.global_args[0] if dockerfile.global_args else dockerfile.stages[0].base
    if lines or any(map(_is_directive, first.origin.comments[:1])):
        lines.append("")  # or the comment behind would be a directive
    return lines


def _is_directive(comment: str) -> bool:
    try:
        return DirectiveReader().accept(f"# {comment}")
    except DockerfileSyntaxError:
        return True


def _instruction(instruction: AnyInstruction) -> list[str]:
    comments = [f"# {comment}" for comment in instruction.origin.comments]
    return [*comments, instruction.source]
