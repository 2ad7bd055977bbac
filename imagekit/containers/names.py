"""Names for containers that were given none, as docker makes them: adjective_noun."""

from collections.abc import Callable, Sequence

ADJECTIVES = (
    "able", "amber", "bold", "brave", "brisk", "bright", "calm", "candid", "clever", "cosy",
    "crisp", "curious", "daring", "deft", "eager", "early", "fair", "fervent", "fond", "frank",
    "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "humble", "jolly", "keen",
    "kind", "lively", "lucid", "lucky", "mellow", "merry", "modest", "neat", "nimble", "noble",
    "patient", "placid", "plucky", "proud", "quick", "quiet", "ready", "serene", "sharp", "shy",
    "silent", "sleek", "snug", "steady", "stoic", "sturdy", "sunny", "swift", "tender", "tidy",
    "trusty", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
NOUNS = (
    "ampere", "babbage", "banach", "bell", "bohr", "boole", "borg", "brahe", "cantor", "cerf",
    "church", "conway", "curie", "darwin", "dijkstra", "dirac", "euclid", "euler", "faraday",
    "fermat", "fermi", "feynman", "galileo", "galois", "gauss", "germain", "goedel", "goodall",
    "hamilton", "hertz", "hilbert", "hopper", "hypatia", "jepsen", "joule", "kepler", "knuth",
    "kovalevskaya", "lamport", "leibniz", "liskov", "lovelace", "maxwell", "meitner", "mendel",
    "mirzakhani", "morse", "newton", "noether", "ohm", "pascal", "pasteur", "perlman", "planck",
    "ramanujan", "ritchie", "shannon", "sinoussi", "tesla", "thompson", "torvalds", "turing",
    "volta", "watt", "wiles", "wu",
)  # fmt: skip


def random_name(choose: Callable[[Sequence[str]], str], *, attempt: int = 0) -> str:
    """Return a name made of two words picked by ``choose``.

    From the second ``attempt`` on a digit is added, as the words ran into a name in use.
    """
    name = f"{choose(ADJECTIVES)}_{choose(NOUNS)}"
    return f"{name}{choose('0123456789')}" if attempt else name
