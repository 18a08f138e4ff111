"""Work on identity files as commands: what the identity library does alone, from the same plan."""

from __future__ import annotations

import shlex

from onboarding.guide.plan import Call

IDENTITY = "identity"


def command(call: Call) -> str:
    """What a person runs in place of a call of the service "identity": the library's own command, or a look."""
    params = call.params
    places = [str(place) for place in params.get("from") or []]
    if call.operation == "start":
        words = ["python -m onboarding.identity prepare", *(f"  {shlex.quote(place)}" for place in places)]
        if not places:
            # Files that the portal has never seen: it knows neither what they hold nor where people live.
            words.append('  "${FILES:?Set FILES to your file, your folder, or s3://bucket/folder/}"')
            words.append('  --country "${COUNTRY:?Set COUNTRY to the country of the people, such as US}"')
            words.append(f"  --table {shlex.quote(params['table'])} --out {shlex.quote(params['to'])}")
            return " \\\n".join(words)
        columns = ",".join(f"{column}={kind}" for column, kind in params["columns"].items())
        words.append(f"  --columns {shlex.quote(columns)}")
        if params["country"]:
            words.append(f"  --country {params['country']}")
        words.append(f"  --hash --rules {params['rules']}" if params["rules"] else "  --clear")
        words.append(f"  --table {shlex.quote(params['table'])} --out {shlex.quote(params['to'])}")
        return " \\\n".join(words)
    if call.operation == "manifest":
        return f"aws s3 ls --recursive {shlex.quote(params['to'])}/ --region us-east-1"
    if call.operation in ("adopt", "same"):
        return "\n".join(f"aws s3 ls {shlex.quote(place)} --region us-east-1" for place in places) or ":"
    return "# Nothing to run: the command before this has ended only when the files are prepared."
