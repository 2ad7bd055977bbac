"""Dockerfile instructions as edits of a config: ``commit --change`` and ``import --change``.

Source: docker commit reference, "--change".
"""

from collections.abc import Callable, Sequence

from imagekit.build.environment import StageEnvironment
from imagekit.build.errors import BuildError
from imagekit.build.plan import PlanInputs, StageState, plan_stage
from imagekit.dockerfile.instructions import (
    AnyInstruction,
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from imagekit.dockerfile.parse import parse
from imagekit.oci.image_config import ContainerConfig

_ALLOWED = (
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)


def config_edit(changes: Sequence[str]) -> Callable[[ContainerConfig], ContainerConfig]:
    """Return the edit that instructions such as ``CMD ["x"]`` make.

    Raises:
        DockerfileError: if one cannot be parsed; lines are counted from the first change.
        BuildError: for an instruction that does more than change the config.

    """
    text = "FROM scratch\n" + "".join(f"{change}\n" for change in changes)
    dockerfile = parse(text, file_name="--change")
    (stage,) = dockerfile.stages
    instructions: tuple[AnyInstruction, ...] = stage.instructions
    for instruction in instructions:
        if not isinstance(instruction, _ALLOWED):
            names = ", ".join(kind.NAME for kind in _ALLOWED)
            raise BuildError(
                f"{instruction.NAME} is not allowed in --change", hint=f"Use one of {names}."
            )

    def edit(config: ContainerConfig) -> ContainerConfig:
        environment = StageEnvironment.from_image(
            config.env or (), escape=dockerfile.directives.escape
        )
        state = StageState(config=config, environment=environment)
        inputs = PlanInputs(dockerfile=dockerfile, build_args={}, global_args={})
        plan_stage(stage, instructions, state, inputs)
        return state.config

    return edit
