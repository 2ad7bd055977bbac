"""A container as ``docker inspect`` shows it."""

from typing import Any

from imagekit.containers.files import ContainerFiles
from imagekit.containers.model import ContainerState, Status
from imagekit.containers.spec import ContainerSpec

_ZERO_TIME = "0001-01-01T00:00:00Z"


def inspection(spec: ContainerSpec, state: ContainerState, files: ContainerFiles) -> dict[str, Any]:
    """Return docker's document about a container; fields that have no meaning here are left out.

    Source: moby api/types/container InspectResponse.
    """
    process = spec.process
    return {
        "Id": spec.id,
        "Created": spec.created,
        "Path": process.argv[0],
        "Args": list(process.argv[1:]),
        "State": _state(state),
        "Image": spec.image.id,
        "ImageManifestDescriptor": {
            "mediaType": spec.image.media_type,
            "digest": spec.image.digest,
            "size": spec.image.size,
        },
        "Name": f"/{spec.name}",
        "LogPath": str(files.log),
        "Driver": "overlayfs",
        "GraphDriver": {"Name": "overlayfs", "Data": {"UpperDir": str(files.upperdir)}},
        "HostConfig": _host_config(spec),
        "Mounts": [
            {
                "Type": point.kind,
                **({"Name": point.name} if point.name else {}),
                "Source": point.source,
                "Destination": point.target,
                "Mode": "ro" if point.read_only else "",
                "RW": not point.read_only,
            }
            for point in spec.mounts
        ],
        "Config": {
            "Hostname": spec.request.hostname or spec.short_id,
            "User": process.user,
            "ExposedPorts": {port: {} for port in spec.exposed_ports},
            "Tty": process.tty,
            "OpenStdin": spec.request.interactive,
            "Env": list(process.env),
            "Cmd": list(spec.command),
            "Image": spec.request.image,
            "WorkingDir": process.cwd,
            "Entrypoint": list(spec.entrypoint),
            "Labels": dict(spec.labels),
            "StopSignal": spec.stop_signal,
            "StopTimeout": spec.request.stop_timeout_s,
        },
        "NetworkSettings": _network(spec, state),
    }


def _state(state: ContainerState) -> dict[str, Any]:
    return {
        "Status": state.status.value,
        "Running": state.status is Status.RUNNING,
        "Paused": False,
        "OOMKilled": state.oom_killed,
        "Dead": state.status is Status.DEAD,
        "Pid": state.init.pid if state.status is Status.RUNNING else 0,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started or _ZERO_TIME,
        "FinishedAt": state.finished or _ZERO_TIME,
    }


def _host_config(spec: ContainerSpec) -> dict[str, Any]:
    request = spec.request
    return {
        "Binds": [
            f"{point.name or point.source}:{point.target}{':ro' if point.read_only else ''}"
            for point in spec.mounts
            if point.kind != "tmpfs"
        ],
        "NetworkMode": request.network.value,
        "PortBindings": {
            f"{port.container_port}/{port.protocol}": [
                {"HostIp": port.host_ip, "HostPort": str(port.host_port) if port.host_port else ""}
            ]
            for port in request.publish
        },
        "AutoRemove": request.remove,
        "CapAdd": list(request.cap_add),
        "CapDrop": list(request.cap_drop),
        "Dns": list(request.dns),
        "ExtraHosts": list(request.add_hosts),
        "Privileged": request.privileged,
        "ReadonlyRootfs": request.read_only,
        "SecurityOpt": list(request.security_opt),
        "Tmpfs": {
            point.target: f"size={point.size_bytes}" if point.size_bytes else ""
            for point in spec.mounts
            if point.kind == "tmpfs"
        },
        "Init": request.init,
        "Memory": request.memory_bytes or 0,
        "MemorySwap": request.memory_swap_bytes or 0,
        "NanoCpus": round((request.cpus or 0) * 1e9),
        "PidsLimit": request.pids_limit or 0,
    }


def _network(spec: ContainerSpec, state: ContainerState) -> dict[str, Any]:
    running = state.status is Status.RUNNING
    ports: dict[str, list[dict[str, str]] | None] = dict.fromkeys(spec.exposed_ports)
    for port in state.ports if running else ():
        bindings = ports.get(f"{port.container_port}/{port.protocol}") or []
        bindings.append({"HostIp": port.host_ip, "HostPort": str(port.host_port)})
        ports[f"{port.container_port}/{port.protocol}"] = bindings
    address = state.address if running else ""
    gateway = state.gateway if running else ""
    prefix_length = state.prefix_length if running else 0
    endpoint = {"IPAddress": address, "Gateway": gateway, "IPPrefixLen": prefix_length}
    return {
        "Bridge": state.bridge if running else "",
        "Ports": ports,
        **endpoint,
        "Networks": {spec.request.network.value: endpoint},
    }
