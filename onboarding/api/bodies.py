"""Bodies of requests are filled-in forms: the same fields, rules and words as on the pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.http import HttpRequest

from onboarding.api.problems import FieldError, Problem, of_form, pointer
from onboarding.services.from_file import posted

F = TypeVar("F", bound=forms.Form)
JSON = "application/json"
# What a form cleans away or refuses: NUL, and blanks alone where something is required.
_TEXT, _SOMETHING = r"^[^\u0000]*$", r"^[^\u0000]*[^\s\u0000][^\u0000]*$"


def body(form: type[forms.Form], *, required: bool = True) -> dict[str, Any]:
    """The form as the request body of an operation, for `openapi_extra`."""
    return {"requestBody": {"required": required, "content": {JSON: {"schema": schema_of(form.base_fields)}}}}


def schema_of(fields: Mapping[str, forms.Field]) -> dict[str, Any]:
    """The JSON schema of an object with these fields."""
    return {
        "type": "object",
        "properties": {name: _field_schema(field) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }


def _field_schema(field: forms.Field) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if field.label:
        found["title"] = str(field.label)
    if field.help_text:
        found["description"] = str(field.help_text)
    if isinstance(field, forms.BooleanField):
        return {**found, "type": "boolean", **({"const": True} if field.required else {})}
    if isinstance(field, forms.ChoiceField):
        choices: Any = field.choices
        return {**found, "type": "string", "enum": [str(value) for value, _ in choices]}
    found |= {"type": "string", "pattern": _SOMETHING if field.required else _TEXT}
    if isinstance(field, forms.CharField):
        if field.max_length:
            found["maxLength"] = field.max_length
        if field.min_length or field.required:
            found["minLength"] = field.min_length or 1
    return found


def filled(request: HttpRequest, fields: Mapping[str, forms.Field], make: Callable[[dict[str, Any]], F]) -> F:
    """The valid form that the body fills in. Raises Problem with everything to correct."""
    given = json_object(request)
    errors = [
        FieldError(
            detail=f"There is no field “{name}”; there are {', '.join(fields) or 'none'}.", pointer=pointer(name)
        )
        for name in given
        if name not in fields
    ]
    errors += [
        FieldError(detail=wrong, pointer=pointer(name))
        for name, value in given.items()
        if name in fields and (wrong := _wrong_value(fields[name], value))
    ]
    if errors:
        raise Problem("invalid", errors[0].detail, errors=errors)
    form = make(posted(fields, given))
    if not form.is_valid():
        raise of_form(form)
    return form


def no_fields(request: HttpRequest) -> None:
    """The operation takes no fields. Raises Problem when some were sent."""
    filled(request, {}, forms.Form)


def _wrong_value(field: forms.Field, value: Any) -> str:
    if isinstance(field, forms.BooleanField):
        return "" if isinstance(value, bool) else "Send true or false."
    if isinstance(field, forms.MultipleChoiceField):
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
        return "" if fits else "Send a list of texts."
    if isinstance(field, forms.ChoiceField) and isinstance(value, bool):
        return ""
    if isinstance(field, forms.IntegerField | forms.FloatField | forms.DecimalField):
        return "" if isinstance(value, int | float | str) and not isinstance(value, bool) else "Send a number."
    if not isinstance(value, str):
        return "Send a text."
    # Forms look at what is left without blanks around it; the description says nothing of blanks.
    too_long = [one for one in field.validators if isinstance(one, MaxLengthValidator)]
    try:
        for validator in too_long:
            validator(value)
    except ValidationError as error:
        return str(error.messages[0])
    return ""


def json_object(request: HttpRequest) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object. Raises Problem."""
    if not request.body:
        return {}
    if request.content_type != JSON:
        raise Problem("media-type", f"Send {JSON}.")
    try:
        given = json.loads(request.body)
        # Half a character pair is JSON, but no text.
        json.dumps(given, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Problem("not-understood", "The body is not JSON in UTF-8.") from None
    if not isinstance(given, dict):
        raise Problem("invalid", "Send an object.", errors=[FieldError(detail="Send an object.", pointer="")])
    return given
