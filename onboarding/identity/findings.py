"""What a check can find: its weight, what it will cost, and what to do. Counts and row numbers, never a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

EXAMPLES = 10


class Level(StrEnum):
    """How bad a finding is: an ``error`` stops the onboarding or spoils it, a ``warning`` costs matches, a ``note``
    is for information."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Topic:
    """A sort of finding. ``what`` says what is wrong, ``cost`` what it will cost, ``advice`` what to do."""

    level: Level
    what: str
    cost: str
    advice: str


@dataclass(frozen=True)
class Place:
    """A row: the file's name and the row's number, counted from 1 after the header."""

    file: str
    row: int

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass
class Finding:
    """Something found. ``count`` says how many rows (or columns, see the topic); ``places`` are the first of them."""

    code: str
    count: int
    column: str | None = None
    file: str | None = None
    places: list[Place] = field(default_factory=list)

    @property
    def topic(self) -> Topic:
        """What it means."""
        return TOPICS[self.code]

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.topic.level

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "level": self.level.value,
            "column": self.column,
            "file": self.file,
            "count": self.count,
            "places": [place.as_dict() for place in self.places],
            "what": self.topic.what,
            "cost": self.topic.cost,
            "advice": self.topic.advice,
        }


E, W, N = Level.ERROR, Level.WARNING, Level.NOTE
IGNORED = "These rows are ignored."
TOPICS: Mapping[str, Topic] = {
    "unreadable": Topic(
        E,
        "The file could not be read to its end.",
        "Nothing after this row can be used.",
        "Look at the row given: most often a quotation mark is opened and never closed. Export the file again.",
    ),
    "rows-none": Topic(
        E, "The files hold no rows.", "Nobody can match.", "Export them again: there are column names and nothing else."
    ),
    "header-missing": Topic(
        E,
        "The first row looks like data, not like column names.",
        "Its first person is lost, and no column can be recognised.",
        "Put a row with the column names on top.",
    ),
    "header-duplicate": Topic(
        E,
        "Several columns have the same name.",
        "Only one of them could be mapped; Glue refuses the table.",
        "Give each column a name of its own.",
    ),
    "header-same-but-for-case": Topic(
        W,
        "Names of columns that differ in upper and lower case alone.",
        "AWS Glue takes them for one column and refuses the table if the file is used as it is.",
        "Nothing, if the file is prepared here: each column is written under a name of its own. Else rename them.",
    ),
    "header-empty": Topic(W, "Columns without a name.", "They cannot be mapped.", "Name them, or leave them out."),
    "header-upper-case": Topic(
        W,
        "Column names with upper-case letters.",
        "Entity Resolution finds no column by that name if the file is used as it is.",
        "Nothing, if the file is prepared here: names become lower case. Else rename them.",
    ),
    "header-characters": Topic(
        W,
        "Column names with blanks or other characters than a–z, 0–9 and underscore.",
        "Glue and Entity Resolution may refuse the table if the file is used as it is.",
        "Nothing, if the file is prepared here. Else rename them.",
    ),
    "header-reserved": Topic(
        E,
        "Column names that Entity Resolution keeps for itself.",
        "It refuses the schema mapping.",
        "Rename the columns; preparing the file here does so too.",
    ),
    "columns-too-many": Topic(
        W,
        "More than 25 columns hold identity data.",
        "One schema mapping takes a key and 24 columns.",
        "Nothing, if the file is prepared here: it becomes several tables with the same key.",
    ),
    "columns-differ": Topic(
        W,
        "Files lack columns that others have.",
        "Their rows have nothing in those columns.",
        "Export all files with the same columns.",
    ),
    "encoding": Topic(
        W,
        "Rows that are not in UTF-8.",
        "They are read as Windows-1252; where that is wrong, names and addresses match nobody.",
        "Export the file as UTF-8.",
    ),
    "encoding-mark": Topic(
        N,
        "The file is UTF-16, or begins with a byte-order mark.",
        "Used as it is, its first column would not be found by name.",
        "Nothing, if the file is prepared here.",
    ),
    "ragged": Topic(
        W,
        "Rows with more or fewer fields than the header.",
        IGNORED + " Their values may stand in the wrong columns.",
        "Put quotation marks around values that hold the delimiter, and export again.",
    ),
    "key-column-missing": Topic(
        E, "No column is the key.", "Without a unique key nothing can be matched.", "Say which column identifies a row."
    ),
    "key-missing": Topic(E, "Rows without a key.", IGNORED, "Fill the key column."),
    "key-overlong": Topic(E, "Keys over 38 characters.", IGNORED, "Use shorter keys, the same in your event tables."),
    "key-blanks": Topic(
        W,
        "Keys with blanks at the beginning or end.",
        "They are carried as they are, and join only with events whose key has the same blanks.",
        "Take the blanks out, here and in your event tables.",
    ),
    "key-repeated": Topic(
        W,
        "Rows whose key occurs in an earlier row.",
        "Entity Resolution wants one row a key.",
        "Nothing, if the file is prepared here: the rows of one key become one row with numbered columns.",
    ),
    "key-over-25-rows": Topic(
        E,
        "Rows beyond the 25th of one key.",
        "Entity Resolution ignores them. Prepared here, at most 25 different values of each field are kept for a key.",
        "Look whether these keys mean one person; often they stand for “unknown” or “guest”.",
    ),
    "field-empty": Topic(
        N, "Rows without a value.", "They cannot match by this field.", "Fill it, if you have the data elsewhere."
    ),
    "field-invalid": Topic(
        W,
        "Values that are not valid for this field.",
        "They become empty, and their rows cannot match by this field.",
        "Look at the rows given and correct the export.",
    ),
    "field-wrong-kind": Topic(
        W,
        "Values that look like another kind of data: e-mail addresses or telephone numbers.",
        "They match nobody.",
        "Look whether columns were swapped, or map the column to what it holds.",
    ),
    "field-mixed": Topic(
        E,
        "Some values are hashed already and some are clear.",
        "Without hashing here, Entity Resolution takes the column as one or the other and the rest matches nobody.",
        "Let the file be hashed here: values hashed already are kept.",
    ),
    "field-hashed": Topic(
        N,
        "Values that are hashed already.",
        "They are kept; whether they were standardised before hashing cannot be seen.",
        "Make sure that they were hashed by one of the published rules.",
    ),
    "id-hashed": Topic(
        E,
        "Device or partner ids that are hashed.",
        "These are never hashed; hashed ones match nobody.",
        "Export the ids as they are.",
    ),
    "id-partner": Topic(
        N,
        "Ids of a data partner.",
        "They match only if the partner has transcoded them into Amazon's namespace.",
        "Ask your partner.",
    ),
    "rules-differ": Topic(
        N,
        "Rows that the two published rule tables would hash differently.",
        "Hashed by the other table, these values would give other hashes.",
        "Choose the table that Amazon Ads names for your upload; amazon-ads-1 is the usual one for hashed data.",
    ),
    "unmapped-personal": Topic(
        W,
        "A column looks like personal data but is mapped to nothing.",
        "It is left out, and no row can match by it.",
        "Map it if it holds one of the kinds (a whole name has to be split first), or leave it out on purpose.",
    ),
    "event-personal": Topic(
        E,
        "An event table holds a column that looks like personal data.",
        "Event tables join by the key; personal data in clear would be there for every query.",
        "Take the column out and keep only the key.",
    ),
    "consent-denied": Topic(
        W,
        "Rows without consent: the value is something else than GRANTED.",
        "Amazon does not use these rows.",
        "Nothing, if that is what the people said. Else write GRANTED, in capitals.",
    ),
    "consent-malformed": Topic(
        W,
        "Rows whose consent string cannot be one.",
        "Amazon can read no consent in them, and may not use these rows.",
        "Export the whole string: for TCF (version 2) it begins with C, for GPP with DB.",
    ),
    "consent-empty": Topic(
        N,
        "Rows without a consent string.",
        "Whether Amazon uses them is not known here. Without any consent column, every row counts as consented.",
        "Fill them where the people were asked.",
    ),
    "country-missing": Topic(
        E,
        "Rows whose country is not known.",
        "Telephone numbers, states, postal codes and addresses cannot be standardised for sure.",
        "Fill the country column, or give one country for the files.",
    ),
    "nothing-to-match": Topic(
        W, "Rows with nothing that identifies a person.", "They cannot match.", "Leave them out, or find their data."
    ),
}


class Tally:
    """Adds up findings over batches. Thread-safe only in that each thread fills one of its own."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str | None], int] = {}
        self.rows: dict[tuple[str, str | None], list[int]] = {}

    def add(self, code: str, column: str | None, numbers: npt.NDArray[np.int64]) -> None:
        """Counts rows by their numbers and remembers the first."""
        if len(numbers) == 0:
            return
        entry = (code, column)
        self.counts[entry] = self.counts.get(entry, 0) + len(numbers)
        self.rows[entry] = sorted([*self.rows.get(entry, []), *numbers[:EXAMPLES].tolist()])[:EXAMPLES]

    def merge(self, other: Tally, shift: int) -> None:
        """Adds another tally whose row numbers begin ``shift`` rows later."""
        for entry, count in other.counts.items():
            self.counts[entry] = self.counts.get(entry, 0) + count
            more = [number + shift for number in other.rows[entry]]
            self.rows[entry] = sorted([*self.rows.get(entry, []), *more])[:EXAMPLES]
