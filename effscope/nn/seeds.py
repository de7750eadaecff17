"""One seed for every module, from the seed of the whole network."""

from __future__ import annotations

import hashlib


def path_seed(seed: int, path: str) -> int:
    """Seed of one module: the first 63 bits of the SHA-256 of the text "seed/path".

    Args:
        seed: seed of the whole network.
        path: module path, as in `Node.module`.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{path}".encode()).digest()[:8], "big") >> 1
