"""SIGKILL before each operation that outlives a process, one after the other; and at any moment.

The store is whole afterwards, the same command does its work as if nothing had been, and nothing
is left behind: no process, no mount, no control group, no file that is nobody's.
"""

import random

import pytest

from tests.faults.conftest import Workshop
from tests.faults.lab import Lab, Run, broken_promises, leftovers, outside
from tests.faults.points import Fault
from tests.faults.scenarios import SCENARIOS, Scenario

pytestmark = pytest.mark.root
KILLED = -9
AT_RANDOM = [one for one in SCENARIOS if one.name in ("build", "pull", "load", "prune-all", "tag")]


PARTS = [
    pytest.param(scenario, part, id=f"{scenario}-{part}")
    for scenario in SCENARIOS
    for part in range(scenario.parts)
]


@pytest.mark.parametrize(("scenario", "part"), PARTS)
def test_killed_before_each_operation(workshop: Workshop, scenario: Scenario, part: int) -> None:
    whole, expected = workshop.whole(scenario)
    failures = []

    for number in workshop.points(scenario, part):
        lab = workshop.lab(scenario)
        killed = lab.run(*scenario.arguments, fault=Fault(at=number), leaves=scenario.leaves)

        # Threads take turns differently each time, so the last operations may not be come to.
        assert killed.status == KILLED or number > whole.points * 0.9
        wrong = aftermath(lab, scenario, killed, expected, look_first=number % 2 == 0)
        story = f"killed before operation {number} of {whole.points}: {killed.trace[-1]}"
        failures += [f"{story}: {what}" for what in wrong]

    assert failures == []


@pytest.mark.parametrize("scenario", AT_RANDOM, ids=str)
def test_killed_at_random_moments(
    workshop: Workshop, scenario: Scenario, dice: random.Random
) -> None:
    whole, expected = workshop.whole(scenario)
    failures = []
    killed_runs = 0

    for turn in range(100 // workshop.every):
        lab = workshop.lab(scenario)
        moment = dice.uniform(0, whole.answer.seconds)
        killed = lab.run(*scenario.arguments, kill_after_s=moment)

        killed_runs += killed.status == KILLED
        wrong = aftermath(lab, scenario, killed, expected, look_first=turn % 2 == 0)
        failures += [f"killed after {moment:.4f} s: {what}" for what in wrong]

    assert failures == []
    assert killed_runs


def aftermath(
    lab: Lab, scenario: Scenario, killed: Run, expected: dict[str, object], *, look_first: bool
) -> list[str]:
    """Do what a user would do next, and return all that is not as it should be."""
    wrong = [f"goes on after the kill: {name}" for name in killed.answer.survivors]
    if look_first:  # otherwise the second try finds what the kill left
        wrong += broken_promises(lab.root)
    if scenario.before_again:
        lab.run(*scenario.before_again)
    again = lab.run(*scenario.arguments, fault=Fault(), leaves=scenario.leaves)
    if again.status not in {0, *scenario.ends}:
        wrong.append(f"the second try ends with {again.status}: {again.output}")
    wrong += [f"goes on after the second try: {name}" for name in lab.survivors()]
    pruned = lab.run("system", "prune", "-f")
    if pruned.status:
        wrong.append(f"prune: {pruned.output}")
    contents = lab.contents()
    wrong += [
        f"{name} is {contents.get(name)} and not {expected.get(name)}"
        for name in contents.keys() | expected.keys()
        if contents.get(name) != expected.get(name)
    ]
    wrong += broken_promises(lab.root) + leftovers(lab.root)
    wrong += outside((*killed.trace, *again.trace))
    wrong += [f"left beside: {path.name}" for path in lab.directory.glob(".*")]
    lab.remove()
    return wrong
