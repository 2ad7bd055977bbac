"""Which stage takes what from where: a Dockerfile as a graph, for people and for Graphviz."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from imagekit.dockerfile.document import Dockerfile, Stage
from imagekit.dockerfile.stages import (
    global_scope,
    inherited_triggers,
    instruction_dependencies,
    resolve_base,
)


class Use(StrEnum):
    """How a stage uses another stage or an image."""

    BASE = "from"
    COPY = "copy"
    MOUNT = "mount"


class StageEdge(msgspec.Struct, frozen=True, kw_only=True):
    """One use. ``stage`` is an index; None when ``name`` is an image or a named context."""

    use: Use
    name: str
    stage: int | None
    line: int


class StageNode(msgspec.Struct, frozen=True, kw_only=True):
    """A stage: ``name`` is what to call it, ``platform`` its expanded ``--platform``."""

    index: int
    name: str
    platform: str | None
    first_line: int
    last_line: int
    instructions: int
    edges: tuple[StageEdge, ...]


class StageGraph(msgspec.Struct, frozen=True, kw_only=True):
    """All stages of a file, in its order. The last one is what is built unless another is named."""

    nodes: tuple[StageNode, ...]

    def needed_by(self, index: int) -> tuple[int, ...]:
        """Return the stages that the stage ``index`` needs, itself included, in file order."""
        found = {index}
        waiting = [index]
        while waiting:
            for edge in self.nodes[waiting.pop()].edges:
                if edge.stage is not None and edge.stage not in found:
                    found.add(edge.stage)
                    waiting.append(edge.stage)
        return tuple(sorted(found))

    def as_tree(self) -> str:
        """Return the stages with their uses indented below them; ``(unused)`` where it is so."""
        needed = self.needed_by(len(self.nodes) - 1)
        lines: list[str] = []
        for node in self.nodes:
            platform = f" [{node.platform}]" if node.platform else ""
            unused = "" if node.index in needed else " (unused)"
            lines.append(
                f"{node.index} {node.name}{platform}  lines {node.first_line}-{node.last_line}"
                f"{unused}"
            )
            for position, edge in enumerate(node.edges, start=1):
                branch = "`--" if position == len(node.edges) else "|--"
                kind = "stage" if edge.stage is not None else "image"
                lines.append(f"  {branch} {edge.use} {kind} {edge.name}  line {edge.line}")
        return "\n".join(lines)

    def as_dot(self) -> str:
        """Return the graph in Graphviz's language: an arrow points to who uses something."""
        lines = ["digraph stages {", "  rankdir=LR;", "  node [shape=box];"]
        lines += [f"  s{node.index} [label={_dot_text(node.name)}];" for node in self.nodes]
        images: dict[str, str] = {}
        for node in self.nodes:
            for edge in node.edges:
                if edge.stage is None and edge.name not in images:
                    images[edge.name] = f"i{len(images)}"
                    lines.append(
                        f"  {images[edge.name]} [label={_dot_text(edge.name)}, shape=ellipse];"
                    )
                source = images[edge.name] if edge.stage is None else f"s{edge.stage}"
                style = "" if edge.use is Use.BASE else f" [style=dashed, label={edge.use}]"
                lines.append(f"  {source} -> s{node.index}{style};")
        return "\n".join([*lines, "}"])


def stage_graph(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str] | None = None,
    platform_args: Mapping[str, str] | None = None,
) -> StageGraph:
    """Return the graph of all stages, those that nothing needs included.

    Raises:
        DockerfileError: a FROM line cannot be expanded, or a reference is wrong.
    """
    scope = global_scope(dockerfile, build_args=build_args or {}, platform_args=platform_args or {})
    return StageGraph(nodes=tuple(_node(dockerfile, stage, scope) for stage in dockerfile.stages))


def _node(dockerfile: Dockerfile, stage: Stage, scope: Mapping[str, str]) -> StageNode:
    base = resolve_base(dockerfile, stage, scope)
    edges = [
        StageEdge(
            use=Use.BASE,
            name=_name(base.stage) if base.stage is not None else base.image or "",
            stage=None if base.stage is None else base.stage.index,
            line=stage.base.span.first_line,
        )
    ]
    instructions = (*inherited_triggers(stage, base), *stage.instructions)
    edges += (
        StageEdge(
            use=Use.COPY if found.mount_target is None else Use.MOUNT,
            name=found.reference if found.stage is None else _name(found.stage),
            stage=None if found.stage is None else found.stage.index,
            line=found.instruction.span.first_line,
        )
        for found in instruction_dependencies(dockerfile, stage, instructions)
    )
    return StageNode(
        index=stage.index,
        name=_name(stage),
        platform=base.platform,
        first_line=stage.span.first_line,
        last_line=stage.span.last_line,
        instructions=len(stage.instructions),
        edges=tuple(edges),
    )


def _name(stage: Stage) -> str:
    return stage.display_name or f"stage-{stage.index}"


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
