"""What preparing is measured against does the same job."""

from functools import partial, reduce

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.identity.generate import generate
from bench.identity.run import COLUMNS, KINDS
from bench.identity.yardstick import prepare_plainly
from onboarding.identity.columns import MEANINGS, Kind
from onboarding.identity.prepare import prepare

MAPPING = {column: Kind(kind) for column, kind in zip(COLUMNS, KINDS, strict=True)}


@pytest.mark.parametrize("zipped", [False, True])
def test_the_yardstick_gives_what_preparing_gives(tmp_path, zipped):
    source = tmp_path / "people.csv"
    generate(400, source, repeated=0.2)
    assert prepare_plainly(source, tmp_path / "plain.parquet", MAPPING, "US", zipped=zipped) == 400
    prepare([str(source)], MAPPING, str(tmp_path / "out"), country="US")
    plain = pq.read_table(tmp_path / "plain.parquet").to_pandas()
    tables = [pq.read_table(folder).to_pandas() for folder in sorted((tmp_path / "out").glob("identity*"))]
    ours = reduce(partial(pd.merge, on="customer_id", how="left"), tables)
    assert 0 < len(plain) < 400
    for name, kind in MAPPING.items():
        if kind is Kind.KEY:
            continue
        mine, theirs = MEANINGS[kind].column, name
        numbers = [number for number in range(1, 26) if numbered(mine, number) in ours]
        assert per_key(ours, mine, numbers) == per_key(plain, theirs, range(1, 26)), name


def numbered(name, number):
    return name if number == 1 else f"{name}_{number}"


def per_key(frame, name, numbers):
    """Key → the set of its values in the numbered columns."""
    columns = [numbered(name, number) for number in numbers if numbered(name, number) in frame]
    keys = frame["customer_id"]
    return {
        key: {value for value in row if isinstance(value, str)}
        for key, row in zip(keys, frame[columns].itertuples(index=False), strict=True)
    }
