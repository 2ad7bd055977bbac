"""A container's changes as a new image."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from imagekit.base.clock import Clock
from imagekit.containers.cgroups import cgroup_of
from imagekit.containers.records import Container
from imagekit.containers.spec import ContainerSpec
from imagekit.images.commit import commit_changes
from imagekit.images.local import LocalImage
from imagekit.images.process import merged_environment
from imagekit.oci.image_config import ContainerConfig, History
from imagekit.store.layout import Store


def commit_container(
    store: Store,
    container: Container,
    image: LocalImage,
    lowerdirs: Sequence[Path],
    *,
    name: str | None,
    edits: Sequence[Callable[[ContainerConfig], ContainerConfig]],
    author: str,
    message: str,
    pause: bool,
    clock: Clock,
) -> LocalImage:
    """Return a new image made of ``image`` and the container's changes."""
    spec = container.spec

    def edited(config: ContainerConfig) -> ContainerConfig:
        config = committed_config(spec, config)
        for edit in edits:
            config = edit(config)
        return config

    with store.leases.hold(f"commit {container.row.name}") as lease:
        if image.chain_id is not None:
            lease.add("chain", str(image.chain_id))
        with _frozen(container) if pause else contextlib.nullcontext():
            return commit_changes(
                store,
                image,
                upperdir=container.files.upperdir,
                lowerdirs=lowerdirs,
                history=History(created_by=" ".join(spec.process.argv), comment=message),
                edit=edited,
                name=name,
                author=author,
                clock=clock,
                lease=lease,
            )


def committed_config(spec: ContainerSpec, config: ContainerConfig) -> ContainerConfig:
    """Return the image's config with what the user changed when the container was made.

    Source: moby daemon/commit.go, which commits the container's own config.
    """
    request = spec.request
    changes: dict[str, object] = {}
    if request.entrypoint is not None:
        changes |= {"entrypoint": request.entrypoint or None, "cmd": None}
    if request.command:
        changes["cmd"] = request.command
    if request.env:
        changes["env"] = merged_environment(config.env or (), request.env)
    if request.workdir is not None:
        changes["working_dir"] = request.workdir
    if request.user is not None:
        changes["user"] = request.user
    if request.labels:
        changes["labels"] = {**(config.labels or {}), **request.labels}
    if request.stop_signal is not None:
        changes["stop_signal"] = request.stop_signal
    if request.publish:
        ports: dict[str, dict[str, str]] = {
            f"{port.container_port}/{port.protocol}": {} for port in request.publish
        }
        changes["exposed_ports"] = {**(config.exposed_ports or {}), **ports}
    return msgspec.structs.replace(config, **changes)


@contextlib.contextmanager
def _frozen(container: Container) -> Iterator[None]:
    """Keep the container's processes from running while its files are read."""
    if not container.is_running:
        yield
        return
    cgroup = cgroup_of(container.state.init.pid, container.spec.short_id)
    cgroup.freeze()
    try:
        yield
    finally:
        cgroup.thaw()
