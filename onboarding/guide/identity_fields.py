"""The fields of "Prepare identity data": places in S3, what each column holds, and a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from django import forms

from onboarding.identity import manifest as manifests
from onboarding.identity.columns import MAX_COLUMNS, Kind
from onboarding.identity.errors import BadManifest

# What an onboarding file may say in place of the columns.
AS_GUESSED = "guessed"
KIND_WORDS: Mapping[str, str] = {
    Kind.KEY: "Key: identifies the person in your data",
    Kind.FIRST_NAME: "First name",
    Kind.LAST_NAME: "Last name",
    Kind.EMAIL: "E-mail address",
    Kind.PHONE: "Telephone number",
    Kind.ADDRESS: "Street address",
    Kind.CITY: "City",
    Kind.STATE: "State or region",
    Kind.ZIP: "Postal code",
    Kind.COUNTRY: "Country",
    Kind.MAID: "Mobile ad id",
    Kind.LIVERAMP: "LiveRamp id",
    Kind.EXPERIAN: "Experian id",
    Kind.MERKLE: "Merkle id",
    Kind.CONSENT: "Consent",
    Kind.IGNORE: "Leave it out",
}
_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.*)", re.DOTALL)


class PlacesField(forms.CharField):
    """Places in S3, one a line; cleaned to a list of `s3://bucket/key` and `s3://bucket/prefix/`."""

    widget = forms.Textarea

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = value if isinstance(value, list) else re.split(r"[\r\n]+", str(value or ""))
        return list(dict.fromkeys(line.strip() for line in lines if line.strip()))

    def run_validators(self, value: Any) -> None:
        """Each place is judged by itself, in `validate`."""

    def validate(self, value: Any) -> None:
        if not value:
            raise forms.ValidationError("Choose at least one file or folder.")
        if len(value) > 200:
            raise forms.ValidationError("Choose 200 places at most; a folder counts as one.")
        for place in value:
            match = _PLACE.fullmatch(place)
            if match is None or len(place) > 1100:
                raise forms.ValidationError(
                    f"“{place[:80]}” is no place in S3. Write s3://bucket/file.csv, or s3://bucket/folder/ for all "
                    "files of a folder."
                )


class ColumnsWidget(forms.Widget):
    """A table: each column with its guess and a list of kinds to choose from. `columns` are the look's guesses."""

    template_name = "datasets/columns.html"
    columns: list[dict[str, Any]] = []
    use_fieldset = True

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        if name in data:
            return data[name]
        found = {}
        for number in range(5000):
            column = data.get(f"{name}-{number}-column")
            if column is None:
                break
            found[column] = data.get(f"{name}-{number}-kind", "")
        return found

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return name not in data and f"{name}-0-column" not in data

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        chosen = value if isinstance(value, Mapping) else {}
        context["rows"] = [
            {
                **guess,
                "number": number,
                "chosen": chosen.get(guess["column"], guess["kind"] if not chosen else Kind.IGNORE.value),
                "percent": round(100 * guess["confidence"]),
                "guess": KIND_WORDS[guess["kind"]].partition(":")[0],
                "name": f"{name}-{number}",
            }
            for number, guess in enumerate(self.columns)
        ]
        context["kinds"] = list(KIND_WORDS.items())
        return context


class ColumnsField(forms.Field):
    """Which column holds what: from the table, from a mapping, as `column=kind, column=kind`, or as it was guessed."""

    widget = ColumnsWidget
    guesses: list[dict[str, Any]] = []

    def to_python(self, value: Any) -> dict[str, str]:
        if isinstance(value, str):
            value = self._read(value)
        if not isinstance(value, Mapping):
            return {}
        found = {}
        for column, kind in value.items():
            if kind not in KIND_WORDS:
                raise forms.ValidationError(
                    f"“{kind}” is no kind of column; there are {', '.join(map(str, KIND_WORDS))}."
                )
            if kind != Kind.IGNORE:
                found[str(column)] = str(kind)
        return found

    def _read(self, text: str) -> Any:
        if text.strip().lower() == AS_GUESSED:
            return {guess["column"]: guess["kind"] for guess in self.guesses}
        if text.lstrip().startswith("{"):
            try:
                return json.loads(text)
            except ValueError:
                raise forms.ValidationError("This is not JSON.") from None
        found = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            column, sign, kind = part.rpartition("=")
            if not sign:
                raise forms.ValidationError("Write column=kind, column=kind.")
            found[column.strip()] = kind.strip()
        return found

    def validate(self, value: Any) -> None:
        keys = [column for column, kind in value.items() if kind == Kind.KEY]
        if not keys:
            raise forms.ValidationError("Say which column is the key: without it nothing can be matched.")
        if len(keys) > 1:
            raise forms.ValidationError(f"Only one column can be the key, not {' and '.join(keys)}.")
        if not any(kind not in (Kind.KEY, Kind.CONSENT) for kind in value.values()):
            raise forms.ValidationError("No column holds anything to match by. Say which column holds what.")
        if sum(kind == Kind.CONSENT for kind in value.values()) > MAX_COLUMNS - 2:
            raise forms.ValidationError("The consent columns leave no room for others.")


class ManifestInput(forms.Widget):
    """A file to choose; `brought` is the manifest that was given before, which stays until another is chosen."""

    template_name = "datasets/manifest.html"
    needs_multipart_form = True
    brought: Mapping[str, Any] | None = None

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> Any:
        return files.get(name) or data.get(name)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return name not in data and name not in files

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, None, attrs) | {"brought": said_of(self.brought) if self.brought else ""}


class ManifestField(forms.Field):
    """A manifest of the command: as an uploaded file, as text, or read already; cleaned to what is known of it."""

    widget = ManifestInput
    brought: Mapping[str, Any] | None = None

    def clean(self, value: Any) -> dict[str, Any]:
        value = value or self.brought
        if not value:
            raise forms.ValidationError("Choose the file manifest.json that the command has written.")
        try:
            if isinstance(value, Mapping):
                return manifests.validated(value)
            if isinstance(value, str):
                return manifests.read(value)
            if value.size > manifests.LARGEST:
                raise BadManifest("is too large for a manifest")
            return manifests.read(value.read())
        except BadManifest as error:
            raise forms.ValidationError(f"The file {error}.") from None
        except UnicodeDecodeError:
            raise forms.ValidationError("The file is no text: choose manifest.json, not one of the tables.") from None


def said_of(manifest: Mapping[str, Any]) -> str:
    """A manifest in a few words."""
    tables = len(manifest["tables"])
    return f"{manifest['rows_written']:,} rows in {tables} table{'' if tables == 1 else 's'}, " + (
        f"hashed by {manifest['rules']}" if manifest["rules"] else "in clear"
    )
