"""Random names."""

from imagekit.base.tokens import choice, token_hex


def test_a_token_has_two_digits_a_byte_and_is_new_each_time() -> None:
    made = {token_hex(8) for _ in range(100)}

    assert len(made) == 100
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in made)


def test_every_word_is_chosen_sometimes() -> None:
    assert {choice(("a", "b", "c")) for _ in range(500)} == {"a", "b", "c"}
