"""A parsed Dockerfile as dictionaries and lists, ready for JSON.

Every instruction is an object with ``name``, ``span``, ``keyword``, ``comments`` and the fields of
its class in ``imagekit.dockerfile.instructions``.
"""

import msgspec

from imagekit.dockerfile.document import Dockerfile
from imagekit.dockerfile.instructions import AnyInstruction


def as_builtins(dockerfile: Dockerfile) -> dict[str, object]:
    """Return the file without its text. Surrogate escapes are left in strings."""
    return {
        "file_name": dockerfile.file_name,
        "directives": msgspec.to_builtins(dockerfile.directives),
        "global_args": [_instruction(arg) for arg in dockerfile.global_args],
        "stages": [
            {
                "index": stage.index,
                "name": stage.name,
                "display_name": stage.display_name,
                "span": msgspec.to_builtins(stage.span),
                "instructions": [_instruction(one) for one in (stage.base, *stage.instructions)],
            }
            for stage in dockerfile.stages
        ],
        "warnings": msgspec.to_builtins(dockerfile.warnings),
    }


def _instruction(instruction: AnyInstruction) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(instruction)
    del fields["origin"]
    origin = instruction.origin
    return {
        "name": instruction.NAME,
        "keyword": origin.keyword,
        "span": msgspec.to_builtins(origin.span),
        "flags": list(origin.flags),
        "comments": list(origin.comments),
        **fields,
    }
