"""What a step reads: its files, and the inputs of its cache key.

The inputs are a flat mapping from a name that a user understands to a value; see ``cachekey``.

Source: BuildKit solver, "cache keys"; what is in a key and what is not follows it.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from imagekit.build.context import open_directory
from imagekit.build.errors import BuildError
from imagekit.build.operations import CopyOperation, Operation, RunOperation, WorkdirOperation
from imagekit.build.remote import is_url
from imagekit.build.result import StageResult
from imagekit.build.shared import StageContext
from imagekit.build.sources import Match, MountSource, Tree
from imagekit.dockerfile.ignore import IgnoreMatcher
from imagekit.dockerfile.mounts import MountKind, RunMount, mount_source, resolve_mounts
from imagekit.oci.digest import Digest


class Found(msgspec.Struct):
    """What a step reads, once looked up: inputs of its key, and the files themselves."""

    inputs: dict[str, str]
    tree: Tree | None = None
    matches: tuple[Match, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    sources: dict[RunMount, MountSource] = msgspec.field(default_factory=dict)


class InputFinder(msgspec.Struct):
    """Looks up what operations read. Trees stay open until the ``stack`` of a look-up closes."""

    shared: StageContext

    def wait(self, operation: Operation) -> None:
        """Wait until everything that the operation takes files from is finished.

        Raises:
            ImagekitError: if a stage failed or an image cannot be had.

        """
        match operation:
            case CopyOperation(from_stage=int(index)):
                self.shared.stage_result(index).chain_id()
            case CopyOperation(from_name=str(name)):
                self._wait_outside(name)
            case RunOperation():
                for value in operation.instruction.mounts:
                    source = mount_source(value)
                    if source is not None:
                        self._wait_outside(source)

    def look_up(self, stack: ExitStack, operation: Operation) -> Found:
        """Return what the operation reads.

        Raises:
            BuildError, DockerfileError: if a source is missing or a flag is wrong.

        """
        if isinstance(operation, WorkdirOperation):
            found = Found({"workdir": operation.path, "user": operation.user})
        elif isinstance(operation, CopyOperation):
            found = self._copy(stack, operation)
        else:
            found = self._run(stack, operation)
        epoch = self.shared.request.source_date_epoch
        if epoch is not None:
            found.inputs["SOURCE_DATE_EPOCH"] = str(epoch)
        return found

    def _wait_outside(self, name: str) -> None:
        outside = self.shared.outside(name)
        if isinstance(outside, StageResult):
            outside.chain_id()

    def _copy(self, stack: ExitStack, operation: CopyOperation) -> Found:
        inputs = {
            "command": "ADD" if operation.is_add else "COPY",
            "sources": json.dumps(operation.sources),
            "destination": operation.destination,
        }
        for name in ("owner", "mode", "unpack", "checksum"):
            value = getattr(operation, name)
            if value is not None:
                inputs[f"--{name}"] = str(value)
        for name in ("link", "parents"):
            if getattr(operation, name):
                inputs[f"--{name}"] = "true"
        for position, pattern in enumerate(operation.exclude):
            inputs[f"--exclude {position}"] = pattern
        for document in operation.documents:
            inputs[f"document {document.name}"] = str(Digest.of(document.content))
        inputs.update(self.shared.remote.inputs(operation))
        local = [source for source in operation.sources if not is_url(source)]
        if not local:
            return Found(inputs)
        tree = self._copy_tree(stack, operation)
        exclude = IgnoreMatcher.of(operation.exclude) if operation.exclude else None
        find = tree.matches_with_parents if operation.parents else tree.matches
        matches = tuple(match for source in local for match in find(source, exclude))
        for match in matches:
            inputs.update(fingerprints(tree, match))
        return Found(inputs, tree=tree, matches=matches)

    def _copy_tree(self, stack: ExitStack, operation: CopyOperation) -> Tree:
        if operation.from_stage is not None:
            result = self.shared.stage_result(operation.from_stage)
            return stack.enter_context(self._root_tree(result, f"stage {operation.from_stage}"))
        if operation.from_name is not None:
            outside = self.shared.outside(operation.from_name)
            if isinstance(outside, StageResult):
                return stack.enter_context(self._root_tree(outside, operation.from_name))
            return stack.enter_context(_directory_tree(outside, operation.from_name))
        return self.shared.context()

    @contextmanager
    def _root_tree(self, result: StageResult, what: str) -> Iterator[Tree]:
        # The content of a chain never changes, so its files are digested once for all builds.
        digests = self.shared.digests(f"chain {result.chain_id()}")
        from imagekit.build.rootfs import merged_view

        with merged_view(result.lowerdirs, self.shared.empty_directory()) as root:
            yield Tree(fd=root, what=what, keeps_owners=True, digest_of=digests.digest_of)

    def _run(self, stack: ExitStack, operation: RunOperation) -> Found:
        instruction = operation.instruction
        request = self.shared.request
        network = instruction.network
        inputs = {
            "command": json.dumps(operation.argv),
            "directory": operation.cwd,
            "user": operation.user,
            "--network": request.network if network == "default" else network,
            "--security": instruction.security,
        }
        for item in operation.key_env:
            key, _, value = item.partition("=")
            inputs[f"variable {key}"] = value
        for host in request.add_hosts:
            inputs[f"--add-host {host.partition('=' if '=' in host else ':')[0]}"] = ""
        if operation.script is not None:
            inputs["script"] = str(Digest.of(operation.script.content))
        if instruction.security != "sandbox":
            raise BuildError(
                "RUN --security=insecure is not allowed",
                hint="Remove the flag; imagekit has no switch that grants it.",
            )
        mounts = resolve_mounts(
            instruction.mounts,
            dict(operation.build_env),
            workdir=operation.cwd,
            escape=self.shared.escape,
        )
        found = Found(inputs, mounts=mounts)
        for position, mount in enumerate(mounts):
            inputs[f"--mount {position}"] = _described(mount)
            if mount.kind is MountKind.BIND:
                self._bind(stack, mount, found)
            elif mount.kind is MountKind.CACHE and mount.from_ is not None:
                tree, _ = self._outside_tree(stack, mount.from_)
                seed = tree.matches(mount.source or ".")
                found.sources[mount] = MountSource(tree=tree, matches=seed)
        return found

    def _bind(self, stack: ExitStack, mount: RunMount, found: Found) -> None:
        shared = self.shared
        if mount.from_ is None:
            tree = shared.context()
            source = MountSource(root=shared.context_view())
        else:
            tree, source = self._outside_tree(stack, mount.from_)
        for match in tree.matches(mount.source or "."):
            for name, value in fingerprints(tree, match):
                found.inputs[f"{name} at {mount.target}"] = value
        found.sources[mount] = source

    def _outside_tree(self, stack: ExitStack, name: str) -> tuple[Tree, MountSource]:
        outside = self.shared.outside(name)
        if isinstance(outside, Path):
            tree = stack.enter_context(_directory_tree(outside, name))
            return tree, MountSource(root=outside)
        tree = stack.enter_context(self._root_tree(outside, name))
        return tree, MountSource(layers=outside.lowerdirs)


def fingerprints(tree: Tree, match: Match) -> Iterator[tuple[str, str]]:
    """Yield an input for each file of a match, named by its path in the tree."""
    if not match.is_directory:
        yield f"file {match.path}", tree.fingerprint(match.top)
        return
    prefix = f"{match.path}/" if match.path else ""
    # That there is a directory counts, its own metadata does not: it is not copied.
    yield f"directory {match.path or '.'}", ""
    for item in match.items:
        yield f"file {prefix}{item.below}", tree.fingerprint(item)


def _described(mount: RunMount) -> str:
    """Return what of a mount enters the key: not what it holds, not whether a secret is there."""
    mode = "" if mount.mode is None else f" {mount.mode:o} {mount.uid}:{mount.gid}"
    access = "ro" if mount.read_only else "rw"
    parts = [mount.kind, mount.target, mount.source, mount.id, access, mount.sharing, mount.env]
    return " ".join(str(part) for part in parts if part is not None) + mode


@contextmanager
def _directory_tree(path: Path, name: str) -> Iterator[Tree]:
    tree = Tree(
        fd=open_directory(path, f"build context {name!r}"),
        what=f"build context {name!r}",
        keeps_owners=False,
    )
    try:
        yield tree
    finally:
        tree.close()
