"""Processors that may be used."""

import os
from pathlib import Path

import pytest

from imagekit.linux.cpus import usable_cpus

AFFINITY = len(os.sched_getaffinity(0))


def test_affinity_counts_where_there_is_no_quota(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == AFFINITY
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cpus(tmp_path) == AFFINITY


@pytest.mark.parametrize(("quota", "cpus"), [(1_000, 1), (100_000, 1), (100_001, 2), (10**9, None)])
def test_a_quota_is_rounded_up_and_never_raises_the_number(
    tmp_path: Path, quota: int, cpus: int | None
) -> None:
    expected = AFFINITY if cpus is None else min(cpus, AFFINITY)
    (tmp_path / "cpu.max").write_text(f"{quota} 100000\n")
    assert usable_cpus(tmp_path) == expected

    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert usable_cpus(tmp_path) == expected


def test_no_quota_of_version_1_is_minus_one(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")

    assert usable_cpus(tmp_path) == AFFINITY
