"""Keep what a run of the fuzzer found: ``python -m tests.fuzz.keep SCRATCH``.

Of the inputs in SCRATCH, smallest first, those are copied to testdata/layers that take a step from
one line of the archive code to another which nothing that is there already takes; blocks that they
do not need for that are cut out.
"""

import argparse
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import FrameType

from tests.fuzz.mutate import BLOCK
from tests.fuzz.run import CORPUS, MAX_BYTES, TARGETS, disputed
from tests.fuzz.targets import FORMS, Applying, decompress, documents, read

PACKAGE = str(Path(__file__).parents[2] / "imagekit")
Step = tuple[str, int, int]


def main() -> None:
    """Copy the inputs that show something new."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.keep")
    parser.add_argument("scratch", type=Path)
    scratch: Path = parser.parse_args().scratch
    applying = Applying()

    def archive(data: bytes) -> None:
        read(data)
        for form in FORMS:
            applying.in_form(data, form)

    exercises = {"archives": archive, "packed": decompress, "documents": documents}
    for folder, exercise in exercises.items():
        known: set[Step] = set()
        for path in sorted((CORPUS / folder).iterdir()):
            known |= steps(exercise, path.read_bytes())
        if folder == "archives":
            for data in disputed().values():
                known |= steps(exercise, data)
        found = {
            path.read_bytes()
            for target, its_folder in TARGETS.items()
            if its_folder == folder and (scratch / target).is_dir()
            for path in (scratch / target).iterdir()
        }
        kept = 0
        for data in sorted(found, key=lambda data: (len(data), data)):
            if len(data) <= MAX_BYTES and (new := steps(exercise, data) - known):
                data = minimised(data, lambda part: new <= steps(exercise, part))  # noqa: B023, PLW2901
                known |= steps(exercise, data)
                kept += 1
                name = f"found-{sha256(data).hexdigest()[:12]}"
                (CORPUS / folder / name).write_bytes(data)
        print(f"{folder}: {kept} of {len(found)}")
    applying.close()


def minimised(data: bytes, is_as_good: Callable[[bytes], bool]) -> bytes:
    """Return ``data`` without the blocks that it can do without."""
    at = len(data) // BLOCK * BLOCK
    while at >= 0:
        shorter = data[:at] + data[at + BLOCK :]
        if is_as_good(shorter):
            data = shorter
        at -= BLOCK
    return data


def steps(exercise: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return the steps from line to line in imagekit that ``data`` causes."""
    taken: set[Step] = set()

    def trace(frame: FrameType, event: str, argument: object) -> object:
        path = frame.f_code.co_filename
        if not path.startswith(PACKAGE):
            return None
        last = frame.f_lineno

        def line(frame: FrameType, event: str, argument: object) -> object:
            nonlocal last
            taken.add((path, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(trace)  # type: ignore[arg-type]  # the stub wants a recursive type
    try:
        exercise(data)
    finally:
        sys.settrace(None)
    return taken


if __name__ == "__main__":
    main()
