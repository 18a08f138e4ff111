"""The control API under /_simulator/: for tests, demos and people who want to see a failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from simulator import page, people
from simulator.amc import executions, instances
from simulator.amc.context import Call
from simulator.aws import quotas
from simulator.login import ADVERTISING, SCOPES

if TYPE_CHECKING:
    from simulator.server import Simulator

PREFIX = "/_simulator/"


class ControlError(Exception):
    """A control request that can't be carried out."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    """Answers the control API. Its requests are never captured and never misbehave."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._routes: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "health"): self._health,
            ("POST", "reset"): self._reset,
            ("POST", "snapshots"): self._snapshot,
            ("GET", "clock"): self._clock,
            ("POST", "clock"): self._advance,
            ("GET", "pace"): self._pace,
            ("POST", "pace"): self._set_pace,
            ("GET", "settings"): self._settings,
            ("POST", "settings"): self._set_settings,
            ("GET", "rules"): self._rules,
            ("POST", "rules"): self._add_rule,
            ("PUT", "rules"): self._set_rules,
            ("DELETE", "rules"): self._clear_rules,
            ("GET", "holds"): self._holds,
            ("GET", "exchanges"): self._exchanges,
            ("GET", "token"): self._token,
            ("GET", "people"): self._people,
            ("GET", "world"): self._world,
            ("POST", "seed-instances"): self._seed_instances,
            ("POST", "seed-executions"): self._seed_executions,
            ("GET", "quotas"): self._quotas,
            ("POST", "quotas"): self._set_quotas,
        }

    def __call__(self, request: Request) -> Response:
        """The answer to one control request, always JSON."""
        what = request.path.removeprefix(PREFIX).strip("/")
        try:
            handler = self._routes.get((request.method, what))
            if handler is not None:
                return _json(handler(request))
            parts = what.split("/")
            if request.method == "POST" and len(parts) == 3:
                if parts[0] == "holds" and parts[2] == "release":
                    return _json(self._release(parts[1]))
                if parts[0] == "snapshots" and parts[2] == "restore":
                    return _json(self._restore(parts[1]))
                if parts[0] == "people" and parts[2] == "revoke":
                    return _json(self._revoke(parts[1]))
            known = [method for method, path in self._routes if path == what]
            raise ControlError(405 if known else 404, f"there is no {request.method} {request.path}")
        except ControlError as error:
            return _json({"error": str(error)}, error.status)
        except ValueError as error:
            return _json({"error": str(error)}, 400)

    def _health(self, _: Request) -> Any:
        return {"status": "ok", "time": self._simulator.clock.now().isoformat()}

    def _reset(self, _: Request) -> Any:
        self._simulator.reset()
        return {"status": "ok"}

    def _snapshot(self, _: Request) -> Any:
        return {"id": self._simulator.snapshot()}

    def _restore(self, number: str) -> Any:
        if not number.isdecimal() or not self._simulator.restore(int(number)):
            raise ControlError(404, f"there is no snapshot {number}")
        return {"status": "ok"}

    def _clock(self, _: Request) -> Any:
        return {"now": self._simulator.clock.now().isoformat(), "ahead": self._simulator.clock.offset}

    def _advance(self, request: Request) -> Any:
        seconds = _body(request).get("advance")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 10**9:
            raise ControlError(400, "advance must be a number of seconds, 0 or more")
        self._simulator.clock.advance(seconds)
        self._simulator.progress.settle()
        return self._clock(request)

    def _pace(self, _: Request) -> Any:
        return self._simulator.pace.all()

    def _set_pace(self, request: Request) -> Any:
        body = _body(request)
        if "preset" in body:
            self._simulator.pace.preset(str(body.pop("preset")))
        return self._simulator.pace.set(body)

    def _settings(self, _: Request) -> Any:
        return self._simulator.settings()

    def _set_settings(self, request: Request) -> Any:
        return self._simulator.change_settings(_body(request))

    def _rules(self, _: Request) -> Any:
        return self._simulator.rules.all()

    def _add_rule(self, request: Request) -> Any:
        return self._simulator.rules.add(_body(request))

    def _set_rules(self, request: Request) -> Any:
        rules = _body(request).get("rules")
        if not isinstance(rules, list) or not all(isinstance(one, dict) for one in rules):
            raise ControlError(400, "rules must be a list of rules")
        return self._simulator.rules.replace(rules)

    def _clear_rules(self, _: Request) -> Any:
        self._simulator.rules.clear()
        return {"status": "ok"}

    def _holds(self, request: Request) -> Any:
        wait = request.args.get("wait", "0")
        if not re.fullmatch(r"[0-9](\.[0-9]{1,3})?", wait):
            raise ControlError(400, "wait must be a number of seconds below 10")
        return self._simulator.holds.all(float(wait))

    def _release(self, number: str) -> Any:
        if not number.isdecimal() or not self._simulator.holds.release(int(number)):
            raise ControlError(404, f"nothing is held under {number}")
        return {"status": "ok"}

    def _exchanges(self, request: Request) -> Any:
        since = request.args.get("since", "0")
        if not since.isdecimal():
            raise ControlError(400, "since must be a whole number")
        return self._simulator.capture.since(int(since))

    def _token(self, request: Request) -> Any:
        person = people.person(self._simulator.world, request.args.get("person", "admin"))
        if person is None:
            raise ControlError(404, "there is no such person")
        scopes = request.args.get("scope", f"profile {ADVERTISING}").split()
        if any(scope not in SCOPES for scope in scopes):
            raise ControlError(400, f"the scopes are {', '.join(SCOPES)}")
        return self._simulator.login.issue(person["id"], scopes)

    def _people(self, _: Request) -> Any:
        return self._simulator.world.table("people").values()

    def _revoke(self, name: str) -> Any:
        person = people.person(self._simulator.world, name)
        if person is None:
            raise ControlError(404, "there is no such person")
        return {"revoked": self._simulator.login.revoke(person["id"])}

    def _world(self, _: Request) -> Any:
        return page.world_of(self._simulator.amc)

    def _quotas(self, _: Request) -> Any:
        return quotas.all_of(self._simulator.world)

    def _set_quotas(self, request: Request) -> Any:
        return quotas.change(self._simulator.world, _body(request))

    def _seed_instances(self, request: Request) -> Any:
        body = _body(request)
        account = self._simulator.amc.table("accounts").get(str(body.get("account")))
        count = body.get("count")
        if account is None:
            raise ControlError(400, "account must be an AMC account id")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= instances.QUOTA:
            raise ControlError(400, f"count must be from 0 to {instances.QUOTA}")
        finished = body.get("finished", True)
        if not isinstance(finished, bool):
            raise ControlError(400, "finished must be true or false")
        seed_instances(self._simulator, account["id"], count, finished=finished)
        return {"status": "ok", "instances": count}

    def _seed_executions(self, request: Request) -> Any:
        body, amc = _body(request), self._simulator.amc
        key = instances.key_of(str(body.get("account")), str(body.get("instance")))
        instance, wanted = amc.table("instances").get(key), body.get("executions")
        if instance is None:
            raise ControlError(400, "account and instance must be those of an instance")
        if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
            raise ControlError(400, "executions must be a list of objects")
        with self._simulator.world.change():
            made = [executions.put(amc, instance, *_execution(one))["id"] for one in wanted]
        return {"status": "ok", "executions": made}


def seed_instances(simulator: Simulator, account_id: str, count: int, *, finished: bool = True) -> None:
    """Give an AMC account `count` more standard instances that have been there for a while, or were just asked for."""
    amc = simulator.amc
    account = amc.table("accounts")[account_id]
    with simulator.world.change():
        for _ in range(count):
            number = simulator.world.next_number(f"seeded.{account_id}", start=1)
            call = Call(account, account["marketplace"], {}, {}, {})
            seeded = instances.new(
                amc, call, {"instanceName": f"Instance {number:04d}", "awsAccountId": account["aws_accounts"][0]}
            )
            if finished:
                past = amc.now - 90 * 86400 + number
                seeded |= {"created_at": past, "submitted_at": past, "in_progress_at": past, "completed_at": past}
            amc.table("instances").put(instances.key_of(account_id, seeded["id"]), seeded)


def seed_executions(simulator: Simulator, account_id: str, count: int) -> None:
    """Give `count` standard instances of an AMC account queries whose results are nearly gone, and one of today."""
    amc = simulator.amc
    found = [amc.table("instances")[key] for key in amc.table("instances").under(f"{account_id}/")]
    with simulator.world.change():
        for instance in [one for one in found if one["kind"] == "STANDARD"][:count]:
            for days, workflow in (
                (89, "weekly-reach"),
                (82, "weekly-reach"),
                (88, "path-to-purchase"),
                (0, "overlap"),
            ):
                executions.put(amc, instance, workflow, amc.now - days * 86_400)


def seed_sandboxes(simulator: Simulator) -> None:
    """Give every AMC account its one sandbox instance."""
    amc = simulator.amc
    with simulator.world.change():
        for account in amc.table("accounts").values():
            call = Call(account, account["marketplace"], {}, {}, {})
            sandbox = instances.new(amc, call, {"instanceName": "AMC Sandbox"}, kind="SANDBOX")
            past = amc.now - 365 * 86400
            # Made long ago, when a finished creation was still called SUCCEEDED.
            sandbox |= {"created_at": past, "submitted_at": past, "in_progress_at": past, "completed_at": past}
            sandbox["final_status"] = "SUCCEEDED"
            amc.table("instances").put(instances.key_of(account["id"], sandbox["id"]), sandbox)


def _execution(wanted: dict[str, Any]) -> tuple[str, float, str]:
    """Workflow, time of creation and status of an execution that is asked for."""
    if unknown := set(wanted) - {"workflowId", "createTime", "status"}:
        raise ControlError(400, f"an execution has no {', '.join(sorted(unknown))}")
    workflow, status = wanted.get("workflowId"), wanted.get("status", "SUCCEEDED")
    if not isinstance(workflow, str) or not executions.WORKFLOW.fullmatch(workflow):
        raise ControlError(400, "workflowId must be letters, digits, dots, dashes and underscores")
    if status not in executions.STATUSES:
        raise ControlError(400, f"status must be one of {', '.join(executions.STATUSES)}")
    return workflow, executions.moment_of(wanted.get("createTime")), status


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.get_data() or b"{}")
    except (ValueError, RecursionError) as error:
        raise ControlError(400, "the body must be JSON") from error
    if not isinstance(body, dict):
        raise ControlError(400, "the body must be a JSON object")
    return body


def _json(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status=status, content_type="application/json")
