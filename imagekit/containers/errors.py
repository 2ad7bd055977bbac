"""Errors of containers.

UserError
├── ContainerNotFoundError      no container has that name or id
├── NameConflictError           the name belongs to another container
├── ContainerStateError         the container is not in a state that allows this
└── InvalidRunRequestError      a volume, port or option that makes no sense
HostError
├── StuckContainerError         a container does not end although it was killed
└── SupervisorError             the detached parent of a container could not do its work

What goes wrong while a container is being set up comes as a ``SandboxError``, whose
``container_exit_code`` is docker's 125, 126 or 127. Every other error is 125 for ``run`` and
``exec``.
"""

from imagekit.base.errors import HostError, UserError


class ContainerNotFoundError(UserError):
    """No container has the given name, id or id prefix."""

    code = "container-not-found"


class NameConflictError(UserError):
    """The name of a new container is in use."""

    code = "container-name-in-use"


class ContainerStateError(UserError):
    """The container would have to be running, or would have to be stopped."""

    code = "container-state"


class InvalidRunRequestError(UserError):
    """An option of ``run`` does not follow its grammar or contradicts another."""

    code = "invalid-run-request"


class StuckContainerError(HostError):
    """A container was killed, and the kernel cannot bring it to its end."""

    code = "container-stuck"


class SupervisorError(HostError):
    """The process that watches over a detached container failed or was killed."""

    code = "supervisor"
