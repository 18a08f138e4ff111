"""The shapes of a file's first values, fit to be shown to whoever says which column is what."""

from __future__ import annotations

from onboarding.identity.check import SAMPLE_SIZE, masked
from onboarding.identity.reading import batches, describe
from onboarding.identity.storage import S3Factory, default_s3, find


def shapes(place: str, *, most: int = 3, s3: S3Factory = default_s3) -> dict[str, list[str]]:
    """Column → the different shapes of its first values, ``most`` of each. Raises Unreadable."""
    source = find([place], s3)[0]
    layout = describe(source)
    if layout.header_looks_like_data:
        return {}
    for load in batches(source, layout, list(range(len(layout.header))), SAMPLE_SIZE):
        batch = load()
        return {
            name: list(dict.fromkeys(masked(value) for value in batch.columns[at].slice(0, 50).to_pylist() if value))[
                :most
            ]
            for at, name in enumerate(layout.header)
        }
    return {}
