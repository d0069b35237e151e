from vjepa.data.share import first_by_hash

KEYS = [f"episode_{place}" for place in range(40)]


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    tenth, half, whole = (first_by_hash(KEYS, share) for share in (0.1, 0.5, 1.0))
    assert len(tenth) == 4 and len(half) == 20 and whole == list(range(40))
    assert set(tenth) < set(half) and half != whole[:20] and half == sorted(half)
    assert len(first_by_hash(KEYS[:3], 0.01)) == 1, "never none"


def test_an_episode_is_chosen_by_its_key_wherever_it_stands() -> None:
    backwards = KEYS[::-1]
    assert {KEYS[place] for place in first_by_hash(KEYS, 0.3)} == {backwards[i] for i in first_by_hash(backwards, 0.3)}
