"""One place for seeds: every random choice has a name, and its seed follows from the study's seed and that name.

The loss is never part of a name: every loss sees the same splits, the same shared points and the same initial weights.
"""

import hashlib


def derive(seed: int, *name: str | int) -> int:
    """Return a seed in [0, 2³¹) for one named random choice of a study.

    Args:
        seed: the study's seed.
        name: what the choice is for, for example ``("confirm", replicate, index)``.
    """
    text = "/".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
