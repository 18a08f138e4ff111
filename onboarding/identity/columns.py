"""What the columns of an identity file can hold, and what Entity Resolution calls it (guide 7, step 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column holds. The values are the words used in mappings, reports and manifests."""

    KEY = "key"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    EMAIL = "email"
    PHONE = "phone"
    ADDRESS = "address"
    CITY = "city"
    STATE = "state"
    ZIP = "zip"
    COUNTRY = "country"
    MAID = "maid"
    LIVERAMP = "liverampid"
    EXPERIAN = "experianid"
    MERKLE = "merkleid"
    CONSENT = "consent"
    IGNORE = "ignore"


@dataclass(frozen=True)
class Meaning:
    """What Entity Resolution makes of a kind: its type and match key, the rule that standardises it (none: carried
    untouched), and the column's name in prepared tables."""

    er_type: str
    match_key: str | None
    rule: str | None
    column: str


MEANINGS: Mapping[Kind, Meaning] = {
    Kind.KEY: Meaning("UNIQUE_ID", None, None, "customerid"),
    Kind.FIRST_NAME: Meaning("NAME_FIRST", "FirstName", "name", "firstname"),
    Kind.LAST_NAME: Meaning("NAME_LAST", "LastName", "name", "lastname"),
    Kind.EMAIL: Meaning("EMAIL_ADDRESS", "Email", "email", "email"),
    Kind.PHONE: Meaning("PHONE", "Phone", "phone", "phone"),
    Kind.ADDRESS: Meaning("ADDRESS", "Address", "address", "address"),
    Kind.CITY: Meaning("ADDRESS_CITY", "City", "city", "city"),
    Kind.STATE: Meaning("ADDRESS_STATE", "State", "state", "state"),
    Kind.ZIP: Meaning("ADDRESS_POSTALCODE", "Postal", "zip", "zip"),
    Kind.COUNTRY: Meaning("ADDRESS_COUNTRY", "Country", "country", "country"),
    Kind.MAID: Meaning("STRING", "MAID", None, "maid"),
    Kind.LIVERAMP: Meaning("STRING", "LRP", None, "liverampid"),
    Kind.EXPERIAN: Meaning("STRING", "EXP", None, "experianid"),
    Kind.MERKLE: Meaning("STRING", "MKL", None, "merkleid"),
}
"""Kinds that reach a prepared table as a typed column. Consent columns are carried under their own name."""

HASHED_KINDS = tuple(kind for kind, meaning in MEANINGS.items() if meaning.rule)
CARRIED_KINDS = (Kind.MAID, Kind.LIVERAMP, Kind.EXPERIAN, Kind.MERKLE)
VALUE_KINDS: tuple[Kind, ...] = tuple(kind for kind in MEANINGS if kind is not Kind.KEY)
COUNTRY_RULES = frozenset({"phone", "state", "zip", "address"})
"""Rules whose result depends on the row's country."""

CONSENT_COLUMNS = ("tcf", "gpp", "amz_user_data_consent", "amz_ad_storage_consent")
"""Names by which AMC recognises consent; the last two count as consent only when the value is ``GRANTED``."""
CONSENT_STRINGS: Mapping[str, str] = {
    "tcf": r"C[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*",
    "gpp": r"DB[A-Za-z0-9_-]*(~[A-Za-z0-9_.-]+)*",
}
"""What a string of consent looks like from outside. Only Amazon reads what it says."""
CONSENT_WORDS: Mapping[str, str] = {
    "granted": "Granted",
    "other": "Not granted",
    "strings": "Carries a consent string",
    "malformed": "Carries something that is no consent string",
    "values": "Carries a value",
    "empty": "Empty",
}
"""The words for what is counted of consent columns."""

RESERVED = frozenset(
    {"emailaddress", "inputsourcearn", "matchrule", "matchid", "hashingprotocol", "confidencelevel", "source"}
)
"""Column names that Entity Resolution keeps for itself, in lower case."""

MAX_COLUMNS = 25
MAX_KEY_LENGTH = 38
MAX_ROWS_PER_KEY = 25
MAX_TABLES = 20
