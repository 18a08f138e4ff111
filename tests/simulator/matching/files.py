"""Files on disk as the job reads them, and preparation of a sample by a given rule table."""

import io
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import polars as pl

from simulator.matching.job import MappedField, MappedTable
from simulator.matching.sample import COLUMNS
from simulator.matching.standardise import country_code, standardise

TYPES = {
    "firstname": "NAME_FIRST",
    "lastname": "NAME_LAST",
    "email": "EMAIL_ADDRESS",
    "phone": "PHONE",
    "address": "ADDRESS",
    "city": "ADDRESS_CITY",
    "state": "ADDRESS_STATE",
    "zip": "ADDRESS_POSTALCODE",
    "country": "ADDRESS_COUNTRY",
    "maid": "STRING",
}
KINDS = {"firstname": "name", "lastname": "name"}


@dataclass
class PlainFiles:
    """A table whose files lie on disk or in memory."""

    paths: list
    columns: list
    format: str = "csv"
    name: str = "identities"
    delimiter: str = ","
    contents: dict = field(default_factory=dict)

    def files(self):
        for path in self.paths:
            yield Path(path).name, io.FileIO(path)
        for name, content in self.contents.items():
            yield name, io.BytesIO(content)


def fields_for(columns, hashed):
    found = []
    for name in columns:
        if name == "customerid":
            found.append(MappedField(name, "UNIQUE_ID"))
        else:
            found.append(MappedField(name, TYPES[name], COLUMNS[name], hashed and name != "maid"))
    return tuple(found)


def table_of(path, hashed):
    path = Path(path)
    if path.suffix == ".parquet":
        columns = pl.read_parquet_schema(path).names()
        return MappedTable(PlainFiles([path], columns, "parquet"), fields_for(columns, hashed))
    columns = path.read_text().partition("\n")[0].split(",")
    return MappedTable(PlainFiles([path], columns), fields_for(columns, hashed))


def prepared(frame, table):
    """The frame with every identity value standardised by the rule table and hashed."""
    known = [country_code(value) for value in frame["country"]]
    if table == "entity-resolution-1":
        known = [(standardise(table, "country", value) or "").upper() or None for value in frame["country"]]
    done = {}
    for column in frame.columns:
        if column not in TYPES or column == "maid":
            done[column] = frame[column]
            continue
        kind = KINDS.get(column, column)
        values = [standardise(table, kind, v, c) for v, c in zip(frame[column], known, strict=True)]
        done[column] = pl.Series(
            [None if v is None else sha256(v.encode()).hexdigest() for v in values], dtype=pl.String
        )
    return pl.DataFrame(done)
