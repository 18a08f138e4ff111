"""The service "identity" of a plan: work on identity files, asked for and looked at like a call to Amazon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.utils import timezone

from onboarding.clients.aws import FileSessions
from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.engine import aws_health, queue
from onboarding.engine.checked_files import must_be
from onboarding.guide.identity_output import as_it_is, output_of
from onboarding.guide.identity_questions import other_table
from onboarding.guide.identity_work import ask_for
from onboarding.guide.plan import PlanError
from onboarding.identity import manifest as manifests
from onboarding.identity.errors import BadManifest, Unreadable
from onboarding.identity.publish import MANIFEST, MARK
from onboarding.identity.storage import ABSENT, NO_ANSWER, Source, find
from onboarding.models import DatasetVersion, IdentityJob, Run

# What preparing here counts and Athena does not say.
NOT_COUNTED = (
    "rows_ragged",
    "rows_without_key",
    "rows_with_long_key",
    "rows_of_repeated_keys",
    "rows_collapsed_into",
    "rows_beyond_limit",
    "values_beyond_limit",
)


class IdentityClient:
    """Makes the calls of the service "identity" for one run; `account` is the AWS account that holds the data."""

    def __init__(self, run: Run, account: str) -> None:
        self._run, self._account = run, account

    def call(self, operation: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """`start` asks for preparing, `prepare` looks how far it is, `adopt` takes files that are used as they are.

        `same` looks whether files are still those that were checked, `collect` takes what Athena has prepared,
        `manifest` what people have prepared by themselves.
        Raises Fix or Reconnect when the work has failed.
        """
        operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "start": self._start,
            "prepare": self._prepare,
            "adopt": self._adopt,
            "same": self._same,
            "collect": self._collect,
            "manifest": self._manifest,
        }
        if operation not in operations:
            raise PlanError(f"identity has no operation {operation}")
        return operations[operation](params or {})

    def pages(
        self,
        operation: str,
        params: Mapping[str, Any] | None,
        items: str,
        before: Callable[[], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Nothing is listed."""
        if before is not None:
            before()
        yield from self.call(operation, params).get(items, [])

    def _version(self, params: Mapping[str, Any]) -> DatasetVersion:
        found = (
            DatasetVersion.objects.filter(pk=params["version_pk"], run=self._run, dataset__instance=self._run.instance)
            .select_related("dataset")
            .first()
        )
        if found is None:
            raise Fix(
                "The version of the data set is no longer there.",
                who="Analyst",
                todo="Open the step, choose the files and ask again.",
                code="NoVersion",
            )
        return found

    def _start(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for exactly this, once: what is under way or done with the same settings is not begun again."""
        wanted = {**params, "account": self._account}
        version = self._version(params)
        made = ask_for(version, IdentityJob.Kind.PREPARE, wanted, None, timezone.now())
        if made is not None:
            queue.put_identity_on_commit(made.pk)
            return {"job": made.pk}
        jobs = IdentityJob.objects.filter(version=version, kind=IdentityJob.Kind.PREPARE)
        return {"job": next(job.pk for job in jobs if job.settings == wanted)}

    def _prepare(self, params: Mapping[str, Any]) -> dict[str, Any]:
        job = IdentityJob.objects.select_related("version__dataset").get(pk=params["job"], version__run=self._run)
        version, failure = job.version, job.failure or {}
        again = {"ended": True, "again_from": "job"}
        words = {name: failure.get(name, "") for name in ("what", "why", "who", "todo", "code", "request_id")}
        if job.state == IdentityJob.State.FAILED:
            raise Fix(**words, details=again)
        if job.state == IdentityJob.State.CANCELLED:
            raise Fix(
                "Preparing the files was cancelled.",
                why="Nothing was published.",
                who="Analyst",
                todo="Try again to prepare them from the beginning, or change the answers.",
                code="Cancelled",
                details=again,
            )
        if failure.get("connection"):
            raise Reconnect(**words, connection=failure["connection"])
        if job.state == IdentityJob.State.DONE and version.manifest is not None:
            return output_of(version, version.manifest, str(job.settings["to"]))
        return {"state": job.get_state_display()}

    def _same(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Whether the files at the places `from` have the digest `content`, by places, sizes and ETags."""
        try:
            return {"files": must_be(find(list(params["from"]), self._files()), str(params["content"]))}
        except Unreadable as error:
            if error.code == NO_ANSWER:
                raise Later("S3 could not answer just now.", why=f"{error}.", who="Amazon", code=error.code) from None
            raise Fix(
                "The files can't be found.", why=f"{error}.", who="Analyst", todo="Choose them again.", code=error.code
            ) from None

    def _files(self) -> FileSessions:
        connection = aws_health.working(self._run.account, self._account)
        return FileSessions(connection, session_name=str(self._run.pk), reading=True)

    def _collect(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Write down what Athena has prepared: its files, and the counts, in the shape of the library's manifest."""
        version = self._version(params)
        place, table = str(params["to"]), str(params["table"])
        written = [
            {"path": f"{table}/{source.name.rpartition('/')[2]}", "bytes": source.size}
            for source in find([f"{place}/{table}/"], self._files())
        ]
        columns = list(params["prepared"])
        manifest = {
            "destination": place,
            "rules": params["rules"],
            "country": params["country"],
            "columns": params["columns"],
            "rows_read": params["rows"],
            "rows_written": params["counted"],
            "fields": {},
            **dict.fromkeys(NOT_COUNTED, 0),
            "tables": [{"name": table, "rows": params["counted"], "columns": columns, "files": written}],
        }
        DatasetVersion.objects.filter(pk=version.pk).update(
            manifest=manifest, columns=params["columns"], country=params["country"] or "", rule_table=params["rules"]
        )
        return output_of(version, manifest, place)

    def _manifest(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Take what people have prepared by themselves: by the manifest that they brought, or by that in the bucket.

        In the bucket the files are looked at too, and the manifest has to be of what was checked and answered.
        """
        version, place = self._version(params), str(params["to"])
        try:
            if "manifest" in params and params["manifest"] is not None:
                manifest = manifests.validated(params["manifest"])
            else:
                manifest = self._in_bucket(place)
        except BadManifest as error:
            raise _wrong(f"The file {MANIFEST} {error}.") from None
        except Unreadable as error:
            if error.code == NO_ANSWER:
                raise Later("S3 could not answer just now.", why=f"{error}.", who="Amazon", code=error.code) from None
            raise _wrong(f"{error}.", code=error.code) from None
        if wrong := other_table(manifest, str(params["dataset"])):
            raise _wrong(wrong)
        wanted = {"columns": "the columns", "country": "the country", "rules": "how values are written"}
        other = [words for name, words in wanted.items() if name in params and manifest[name] != params[name]]
        if "rows" in params and manifest["rows_read"] != params["rows"]:
            other.append("the number of rows")
        if other:
            raise _wrong(f"They were made with other answers than yours. It differs in {', '.join(other)}.")
        manifest["destination"] = place
        DatasetVersion.objects.filter(pk=version.pk).update(
            manifest=manifest,
            columns=manifest["columns"],
            country=manifest["country"] or "",
            rule_table=manifest["rules"] or "",
        )
        return output_of(version, manifest, place)

    def _in_bucket(self, place: str) -> dict[str, Any]:
        """The manifest of a folder, once every file that it names is there and no other beside them."""
        sessions = self._files()
        if _there(f"{place}/{MARK}", sessions):
            raise _not_yet(place, "The command is just publishing them, or was stopped while it did.")
        found = _there(f"{place}/{MANIFEST}", sessions)
        if not found:
            raise _not_yet(place, f"There is no {MANIFEST}, which the command writes last.")
        (source,) = found
        if source.size > manifests.LARGEST:
            raise BadManifest("is too large for a manifest")
        manifest = manifests.read(source.read(0, source.size))
        named = {f"{place}/{file['path']}": file["bytes"] for table in manifest["tables"] for file in table["files"]}
        there = {one.name: one for table in manifest["tables"] for one in _there(f"{place}/{table['name']}/", sessions)}
        seen = {name: one.size for name, one in there.items()}
        if named != seen:
            wrong = sorted(name for name in {*named, *seen} if named.get(name) != seen.get(name))
            raise _wrong(
                f"{len(wrong)} files are missing, are of another size, or are not in the manifest. "
                f"The first is {wrong[0]}."
            )
        for table in manifest["tables"]:
            for file in table["files"]:
                _as_named(there[f"{place}/{file['path']}"], table, file)
        return manifest

    def _adopt(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return as_it_is(self._version(params), params["columns"], params["country"])


def _as_named(source: Source, table: Mapping[str, Any], file: Mapping[str, Any]) -> None:
    """Raises Fix unless the file's own footer names the manifest's columns and rows. No value is read."""
    from onboarding.identity.footer import footer  # Arrow is loaded after the fork of a worker only

    found, columns = footer(source), tuple(column["name"] for column in table["columns"])
    if found.columns != columns:
        raise _wrong(f"The columns in {source.name} are not those of the manifest, or in another order.")
    if found.not_text:
        raise _wrong(f"The column {found.not_text[0]} in {source.name} holds no strings.")
    if found.rows != file["rows"]:
        raise _wrong(f"{source.name} holds {found.rows} rows, and the manifest says {file['rows']}.")


def _there(place: str, sessions: FileSessions) -> list[Source]:
    """What is at a place, if anything is. Raises Unreadable where S3 does not say."""
    try:
        return find([place], sessions)
    except Unreadable as error:
        if error.code not in ABSENT:
            raise
        return []


def _not_yet(place: str, why: str) -> Fix:
    return Fix(
        f"The prepared files are not there yet: {place}",
        why=why,
        who="Whoever prepares the files",
        todo="Run the command to its end, then choose “I have done this: check”.",
        code="NotFound",
    )


def _wrong(why: str, code: str = "Different") -> Fix:
    return Fix(
        "The prepared files can't be used.",
        why=why,
        who="Whoever prepares the files",
        todo="Prepare them again with the command as it is shown, or change the answers. Then have it checked again.",
        code=code,
    )
