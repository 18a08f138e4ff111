"""What happens by itself as the simulated time goes on."""

from __future__ import annotations

import logging
import threading

from simulator.amc import advertisers, collaborations
from simulator.amc.context import Amc
from simulator.aws import collaborations as cleanrooms
from simulator.store import Document

log = logging.getLogger("simulator")


class Progress:
    """Carries out what is due. Mapping jobs run in threads of their own, everything else at once."""

    def __init__(self, amc: Amc) -> None:
        self._amc = amc
        self._running: dict[str, threading.Thread] = {}
        self._closed = False

    def settle(self) -> None:
        """Do everything that is due by now, in order. Cheap when there is nothing."""
        due = self._amc.table("due")
        if not len(due):
            return
        with self._amc.world.lock:
            now = self._amc.now
            waiting = [(entry["at"], key, entry) for key in due.under("") if (entry := due[key])["at"] <= now]
            for _, key, entry in sorted(waiting, key=lambda one: one[:2]):
                self._carry_out(key, entry)

    def _carry_out(self, key: str, entry: Document) -> None:
        if entry["kind"] == "job":
            if key not in self._running and not self._closed:
                thread = threading.Thread(target=self._run_job, args=(key, entry["key"]), name=f"job-{key}")
                self._running[key] = thread
                thread.start()
            return
        with self._amc.world.change():
            if entry["kind"] == "collaboration":
                collaborations.begin(self._amc, entry)
            elif entry["kind"] == "advertisers":
                advertisers.apply(self._amc, entry)
            self._amc.table("due").delete(key)

    def _run_job(self, due: str, key: str) -> None:
        try:
            outcome = self._outcome(key)
            with self._amc.world.change():
                job = self._amc.table("mapping_jobs").get(key)
                if job is not None:
                    self._amc.table("mapping_jobs").put(key, {**job, "outcome": {**outcome, "at": self._amc.now}})
                    if outcome["error"] is None:
                        cleanrooms.mark_id_mapping_table_populated(
                            self._amc.world, self._amc.clock, key.rsplit("/", 2)[1]
                        )
                self._amc.table("due").delete(due)
        finally:
            self._running.pop(due, None)

    def _outcome(self, key: str) -> Document:
        amc = self._amc
        job = amc.table("mapping_jobs").get(key)
        if job is None:
            return {"error": None, "metrics": {}}
        if job["fail"] is not None:
            return {"error": job["fail"]["reason"], "metrics": {}}
        try:
            # Imported here: what it stands on takes a second to load, and few requests need it.
            from simulator.matching.job import run_mapping_job

            result = run_mapping_job(amc.world, amc.clock, amc.aws(), namespace_arn=job["namespace"])
        except Exception as error:
            log.exception("the mapping job %s broke", key)
            return {"error": f"Internal error: {type(error).__name__}", "metrics": {}}
        return {"error": None if result.ok else result.error_details, "metrics": result.metrics}

    def wait(self, seconds: float) -> None:
        """Start no further jobs, and let those under way end, for at most `seconds`."""
        self._closed = True
        for thread in list(self._running.values()):
            thread.join(seconds)
