"""The commands of `amc-portal`, each a few calls of the API. `amc-portal --help` lists them."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from amc_portal import __version__, config
from amc_portal.client import Client
from amc_portal.errors import Failed, NotFound, Usage
from amc_portal.follow import follow, progress
from amc_portal.output import Output, plain

Connect = Callable[[config.Config], Client]
EXIT_CODES = """exit codes:
  0 done   1 refused   2 wrong command or settings   3 not allowed   4 not found   5 the portal can't be reached
  6 waits for somebody   7 stopped with a problem, or cancelled   130 interrupted"""


def main(arguments: Sequence[str] | None = None, connect: Connect = Client) -> int:
    """Carry out one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    output = Output(options.json)
    try:
        if options.act is login:
            login(output, connect)
        else:
            with connect(config.load()) as client:
                options.act(client, output, options)
    except Failed as failure:
        if options.json and not isinstance(failure, Usage):
            output.line(json.dumps({"error": str(failure)}, ensure_ascii=False))
        print(f"amc-portal: {failure}", file=sys.stderr)
        return failure.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has read enough.
        sys.stderr.close()
        return 0
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="amc-portal",
        description="The AMC onboarding portal from a terminal or a script, by its API.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"amc-portal {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="write JSON, for programs")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, act: Callable[..., None], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[common])
        made.set_defaults(act=act)
        return made

    command("login", login, "Keep the portal's address and a token, which is asked for and not shown.")
    command("accounts", accounts, "The AMC accounts on which you hold a role.")
    found = command("instances", instances, "The instances of your accounts.")
    found.add_argument("-q", dest="words", default="", help="with these words in the name, the id or the advertiser")
    found.add_argument("--status", default="", help="a status, or needs-a-person, or under-way")
    command("status", status, "Where an instance or a run stands, step by step.").add_argument(
        "what", help="the portal's number or the name of an instance, its AMC id, or the id of a run"
    )
    started = command("start", start, "Start the onboarding that a file describes, or go on with it.")
    started.add_argument("file", type=Path, help="a YAML or JSON file; - reads YAML from standard input")
    started.add_argument("--draft", action="store_true", help="keep the answers, but submit nothing")
    started.add_argument("--follow", action="store_true", help="then follow the run, and submit what becomes ready")
    _following(started)
    followed = command("follow", follow_run, "Follow a run until it ends or needs somebody.")
    followed.add_argument("run", help="the id of a run")
    followed.add_argument("--submit", action="store_true", help="submit each step that has all its answers")
    _following(followed)
    asked = command("requests", requests, "Requests for approval.")
    asked.add_argument("--show", choices=["waiting", "mine", "all"], default="waiting", help="waiting: for you")
    asked.add_argument("--state", default="", help="only open, approved, sent_back, withdrawn, void or expired")
    approved = command("approve", approve, "Read a request and approve exactly what was read.")
    approved.add_argument("request", type=int)
    approved.add_argument("--digest", default="", help="approve without asking, if the plan still has this digest")
    approved.add_argument("--comment", default="")
    again = command("retry", retry, "Try failed steps of a run again.")
    again.add_argument("run")
    again.add_argument("--step", default="", help="only this one")
    audit = commands.add_parser("audit", help="The audit log.", description="The audit log.")
    exports = audit.add_subparsers(required=True, metavar="export")
    export = exports.add_parser("export", help="Write the whole log, oldest first, one JSON object a line.")
    export.set_defaults(act=audit_export, json=False)
    export.add_argument("-o", "--output", type=Path, help="a file instead of standard output")
    export.add_argument("--after", type=int, default=0, help="only entries with a higher number")
    export.add_argument("--act", dest="only", default="", help="only this act, such as request.approved")
    return parser


def _following(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="go on waiting while somebody has to act")
    parser.add_argument("--timeout", type=float, default=0, metavar="SECONDS", help="give up after so long")


# --- commands


def login(output: Output, connect: Connect) -> None:
    """Ask for address and token, try them, and keep them in a file with mode 0600."""
    terminal = sys.stdin.isatty()
    url = input("Address of the portal: " if terminal else "").strip()
    token = (getpass.getpass("Token: ") if terminal else sys.stdin.readline()).strip()
    made = config.Config(config.checked(url), token)
    if not token or not token.isascii() or not token.isprintable():
        raise Usage("This is no token. Make one on the portal, under your name, “API tokens”.")
    with connect(made) as client:
        me = client.get("me")
    path = config.save(made)
    until = me["token"]["expires_at"][:10]
    output.result(me, f"You are {plain(me['name'])}; the token may {', '.join(me['token']['scopes'])} until {until}.")
    output.say(f"Kept in {path}.")


def accounts(client: Client, output: Output, options: argparse.Namespace) -> None:
    """The accounts as a table."""
    rows = list(client.every("accounts", per_page=200))
    cells = [(row["id"], row["entity_id"], row["marketplace_id"], row["name"]) for row in rows]
    output.table(rows, ("#", "ACCOUNT", "MARKETPLACE", "NAME"), cells, "You hold no role on an AMC account yet.")


def instances(client: Client, output: Output, options: argparse.Namespace) -> None:
    """The instances as a table."""
    rows = list(client.every("instances", q=options.words, status=options.status, per_page=200))
    cells = [
        (
            row["id"],
            row["name"],
            row["instance_id"] or "–",
            f"{row['steps_done']}/{row['steps_all']}",
            row["status_text"],
            row["status_detail"],
        )
        for row in rows
    ]
    output.table(rows, ("#", "NAME", "AMC ID", "STEPS", "STATUS", "DETAIL"), cells, "There are none.")


def status(client: Client, output: Output, options: argparse.Namespace) -> None:
    """The latest run with its steps."""
    run = _run_named(client, options.what)
    heads = ("STEP", "STATE", "DETAIL")
    cells = [
        (step["key"], step["state_text"], (step["failure"] or {}).get("what") or step["waiting_text"])
        for step in run["steps"]
    ]
    if not output.as_json:
        output.line(f"{plain(run['instance_name'])}: {plain(run['title'])}, run {run['id']}\n{progress(run)}\n")
    output.table(run, heads, cells, "It has no steps.")


def _run_named(client: Client, what: str) -> Any:
    if what.count("-") == 4 and len(what) == 36:
        return client.get(f"runs/{what}")
    if what.isdigit():
        number = int(what)
    else:
        found = [row for row in client.every("instances", q=what) if what in (row["name"], row["instance_id"])]
        if len(found) != 1:
            raise NotFound(f"{len(found) or 'No'} instances are called {what}." + " Give the number." * bool(found))
        number = found[0]["id"]
    runs = client.get(f"instances/{number}/runs", per_page=1)["items"]
    if not runs:
        raise NotFound("Nothing was begun for this instance yet.")
    return runs[0]


def start(client: Client, output: Output, options: argparse.Namespace) -> None:
    """Send the file; say what came of it."""
    try:
        content = sys.stdin.buffer.read() if str(options.file) == "-" else options.file.read_bytes()
    except OSError as error:
        raise Usage(f"{options.file} can't be read: {error.strerror}") from None
    media_type = "application/json" if options.file.suffix == ".json" else "application/yaml"
    made = client.post_file("runs", content, media_type, submit=not options.draft)
    run = made["run"]
    for number in made["requests"]:
        output.say(f"Request {number} waits for approval.")
    if options.follow:
        run = follow(client, output, run["id"], submit=not options.draft, wait=options.wait, timeout=options.timeout)
    output.result(run, f"run {run['id']}\n{progress(run)}")


def follow_run(client: Client, output: Output, options: argparse.Namespace) -> None:
    """Follow to the end."""
    run = follow(client, output, options.run, submit=options.submit, wait=options.wait, timeout=options.timeout)
    output.result(run, progress(run))


def requests(client: Client, output: Output, options: argparse.Namespace) -> None:
    """The requests as a table."""
    rows = list(client.every("requests", show=options.show, state=options.state, per_page=200))
    cells = [
        (
            row["id"],
            row["state"],
            f"{row['approved']}/{row['approvers_needed']}",
            row["asked_by"]["name"],
            row["instance_name"],
            row["title"],
        )
        for row in rows
    ]
    heads = ("#", "STATE", "APPROVED", "ASKED BY", "INSTANCE", "WHAT")
    output.table(rows, heads, cells, "Nothing waits for you." if options.show == "waiting" else "There are none.")


def approve(client: Client, output: Output, options: argparse.Namespace) -> None:
    """Show the plan and ask; or, with a digest, approve what has it."""
    request = client.get(f"requests/{options.request}")
    digest = options.digest
    if not digest:
        if options.json or not sys.stdin.isatty():
            raise Usage("Say with --digest which plan you have read; `requests --json` shows it.")
        if request["why_not"]:
            raise Failed(plain(request["why_not"]))
        _show(request, sys.stdout)
        if input("Approve exactly this? Type yes: ").strip().lower() != "yes":
            raise Failed("Nothing was approved.")
        digest = request["digest"]
    done = client.post(f"requests/{options.request}/approve", {"digest": digest, "comment": options.comment})
    missing = done["approvers_needed"] - done["approved"]
    more = f"; {missing} more must approve it" if done["state"] == "open" else ""
    output.result(done, f"You approved: {plain(done['title'])}{more}.")


def _show(request: dict[str, Any], out: TextIO) -> None:
    lines = [f"{plain(request['title'])}", f"asked by {plain(request['asked_by']['name'])}"]
    if request["note"]:
        lines.append(f"note: {plain(request['note'])}")
    for row in request["plan"]:
        lines.append(f"\n  {row['effect']}: {plain(row['name'])}  ({plain(row['call'])})")
        lines += [f"      {plain(fact['label'])}: {plain(fact['value'])}" for fact in row["facts"]]
    print("\n".join(lines), file=out)


def retry(client: Client, output: Output, options: argparse.Namespace) -> None:
    """Put failed steps back on the queue."""
    run = client.get(f"runs/{options.run}")
    keys = [step["key"] for step in run["steps"] if step["state"] == "failed" and options.step in ("", step["key"])]
    if not keys:
        raise Failed("There is nothing to try again: no such step has failed.")
    for key in keys:
        client.post(f"runs/{options.run}/steps/{key}/retry")
        output.say(f"{key}: tried again")
    run = client.get(f"runs/{options.run}")
    output.result(run, progress(run))


def audit_export(client: Client, output: Output, options: argparse.Namespace) -> None:
    """Every entry as a line of JSON; a file appears whole or not at all."""
    entries = client.every("audit", order="oldest", limit=1000, after=options.after or None, act=options.only)
    if options.output is None:
        for entry in entries:
            output.line(json.dumps(entry, ensure_ascii=False))
        return
    part, count = options.output.with_name(options.output.name + ".part"), 0
    try:
        with part.open("w", encoding="utf-8") as file:
            for entry in entries:
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                count += 1
                if count % 1000 == 0:
                    output.say(f"{count} entries")
        part.replace(options.output)
    except OSError as error:
        raise Failed(f"{options.output} can't be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    output.say(f"{count} entries in {options.output}")
