import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from registry_server.testing import running_registry
from tests.faults.lab import ForkServer, Lab, Run
from tests.faults.points import Fault
from tests.faults.scenarios import Scenario

# Of all points, so many are tried by the whole suite: others each day.
EVERY = 4


class Workshop:
    """Laboratories by scenario: each template is filled once, and copied for each use."""

    def __init__(
        self, server: ForkServer, directory: "pytest.TempPathFactory", registry: str, *, every: int
    ) -> None:
        self._server = server
        self._directory = directory.mktemp("labs")
        self._reports = directory.mktemp("reports")
        self._registry = registry
        self._templates: dict[str, Lab] = {}
        self._whole: dict[str, tuple[Run, dict[str, object]]] = {}
        self._made = 0
        self.every = every

    def lab(self, scenario: Scenario) -> Lab:
        """Return a new laboratory for a scenario."""
        name = scenario.template.__name__
        if name not in self._templates:
            lab = Lab(
                self._server,
                self._directory / f"template-{name}",
                registry=self._registry,
                reports=self._reports,
            )
            scenario.template(lab)
            self._templates[name] = lab
        self._made += 1
        return self._templates[name].copy(self._directory / str(self._made))

    def whole(self, scenario: Scenario) -> tuple[Run, dict[str, object]]:
        """Return an undisturbed run, with its trace, and what is in the store after it."""
        if scenario.name not in self._whole:
            lab = self.lab(scenario)
            run = lab.run(*scenario.arguments, fault=Fault(), leaves=scenario.leaves)
            assert run.status == 0, run.output
            assert lab.survivors() == ()
            self._whole[scenario.name] = run, lab.contents()
            lab.remove()
        return self._whole[scenario.name]

    def operations(self, scenario: Scenario, code: int) -> list[str]:
        """Return the lines of the trace of all operations that an error may befall."""
        key = f"{scenario.name} {code}"
        if key not in self._whole:
            lab = self.lab(scenario)
            run = lab.run(*scenario.arguments, fault=Fault(error=code), leaves=scenario.leaves)
            assert lab.survivors() == ()
            self._whole[key] = run, {}
            lab.remove()
        return [line for line in self._whole[key][0].trace if not line.startswith("-")]

    @property
    def today(self) -> int:
        """The first number to try; then every ``every``-th."""
        return datetime.now(UTC).toordinal() % self.every

    def points(self, scenario: Scenario, part: int) -> range:
        """Return the numbers of the operations that this part of a scenario is to try today."""
        run, _ = self.whole(scenario)
        first = self.today + part * self.every
        return range(first, run.points, self.every * scenario.parts)


@pytest.fixture(scope="session")
def workshop(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Workshop]:
    home = tmp_path_factory.mktemp("home")
    every = 1 if pytestconfig.getoption("--all-faults") else EVERY
    with running_registry(home / "registry") as registry:
        server = ForkServer(home)
        yield Workshop(server, tmp_path_factory, registry.host, every=every)
        server.close()


@pytest.fixture
def dice() -> random.Random:
    """Chance that comes again with the seed that the suite prints."""
    return random.Random(random.random())
