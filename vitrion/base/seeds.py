"""Seeds derived from the key of a job, so that a campaign is reproducible job by job."""

from __future__ import annotations

import hashlib


def derive_seed(campaign_seed: int, *key: object) -> int:
    """A 31-bit seed for one job, from the campaign's seed and the job's key.

    Depends on nothing but its arguments (not on the process, the platform or Python's hashing).

    Args:
        campaign_seed: `seed` of the configuration.
        key: what identifies the job, for example ``("quench", "LiAlCl", 0)``.
    """
    text = "/".join(map(str, (campaign_seed, *key)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
