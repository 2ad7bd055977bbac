"""The known name nearest to a mistyped one, for "did you mean"."""

from collections.abc import Iterable

_TOO_FAR = 3


def nearest(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str | None:
    """Return the known name less than three edits away, the nearest and then the first; or None.

    None too when ``word`` is itself known: then something else is wrong with it.
    """
    sought = word if case_sensitive else word.lower()
    letters = set(sought)
    best: str | None = None
    best_distance = _TOO_FAR
    for name in known:
        candidate = name if case_sensitive else name.lower()
        if candidate == sought:
            return None
        if abs(len(candidate) - len(sought)) >= best_distance:
            continue
        # An edit takes one character away at most and brings one in: most names end here.
        if len(letters.symmetric_difference(candidate)) > 2 * (best_distance - 1):
            continue
        distance = edit_distance(sought, candidate)
        if distance < best_distance:
            best, best_distance = name, distance
    return best


def did_you_mean(word: str, known: Iterable[str], *, case_sensitive: bool = True) -> str:
    """Return `` (did you mean X?)``, or an empty text when nothing is near."""
    name = nearest(word, known, case_sensitive=case_sensitive)
    return "" if name is None else f" (did you mean {name}?)"


def edit_distance(left: str, right: str) -> int:
    """Return how many characters to insert, delete or replace (Levenshtein)."""
    previous = list(range(len(right) + 1))
    for row, left_character in enumerate(left, start=1):
        current = [row]
        for column, right_character in enumerate(right, start=1):
            current.append(
                min(
                    previous[column] + 1,
                    current[column - 1] + 1,
                    previous[column - 1] + (left_character != right_character),
                )
            )
        previous = current
    return previous[-1]
