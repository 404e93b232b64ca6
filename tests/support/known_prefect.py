"""Prefect's API as the console asks it, without a server: what it knows is a few dictionaries, and what was asked of it is kept."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from flows.runtime.prefect_api import PrefectApi, _Answer
from flows.runtime.prefect_settings import PrefectSettings

FLOWS = ("release", "rollback", "rehearse", "plan", "revalidate")
NOW = "2026-05-17T08:30:00+00:00"


def known_id(name: str) -> str:
    """The id of something that has a name here."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


class KnownPrefect(PrefectApi):
    """Answers at the network's edge, as Prefect 3.9.1 does: runs of one idempotency key are one, and what does not wait is not resumed.

    Attributes:
        runs: By id.
        resumed: What forms were given, by the run's id.
        down: Whether it does not answer.
    """

    def __init__(self) -> None:
        super().__init__(PrefectSettings(api_url="http://127.0.0.1:9/api", client_max_retries=0))
        self.runs: dict[str, dict[str, Any]] = {}
        self.resumed: dict[str, dict[str, Any]] = {}
        self.down = False
        self._keys: dict[str, str] = {}

    def within(self, seconds: float) -> PrefectApi:
        """Itself: it answers at once."""
        return self

    def add(self, flow: str, parameters: Mapping[str, Any], state: str = "RUNNING", run_id: str = "", form: str = "") -> str:
        """A run; `form` is the round that it waits in."""
        run_id = run_id or str(uuid.uuid4())
        keys = {kind: f"suspended-{form}-{kind}" for kind in ("schema", "response", "description")} if form else None
        self.runs[run_id] = {
            "id": run_id,
            "name": f"{flow} {parameters.get('model')}",
            "flow_id": known_id(flow),
            "parameters": dict(parameters),
            "state_type": state,
            "state_name": {"PAUSED": "Suspended"}.get(state, state.title()),
            "state": {"message": "", "state_details": {"run_input_keyset": keys}},
            "created": NOW,
        }
        return run_id

    def _send(self, path: str, body: Mapping[str, Any] | None) -> _Answer:
        if self.down:
            return _Answer(status=503, content=b"{}", retry_after=None)
        status, found = self._told(path.split("?")[0].strip("/").split("/"), dict(body or {}))
        return _Answer(status=status, content=json.dumps(found).encode(), retry_after=None)

    def _told(self, path: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        match path:
            case ["deployments", "name", flow, _]:
                return (200, {"id": known_id(flow)}) if flow in FLOWS else (404, {})
            case ["deployments", of, "create_flow_run"]:
                flow = next(each for each in FLOWS if known_id(each) == of)
                run_id = self._keys.setdefault(body["idempotency_key"], "") or self.add(flow, body["parameters"], "SCHEDULED")
                self._keys[body["idempotency_key"]] = run_id
                return 201, self.runs[run_id]
            case ["flows", "filter"]:
                return 200, [{"id": known_id(flow), "name": flow} for flow in FLOWS]
            case ["flows", of]:
                return 200, {"name": next(flow for flow in FLOWS if known_id(flow) == of)}
            case ["flow_runs", "filter"]:
                return 200, list(self.runs.values())[body.get("offset", 0) :][: body.get("limit", 200)]
            case [_, "filter"]:
                return 200, []
            case ["flow_runs", run_id]:
                return (200, self.runs[run_id]) if run_id in self.runs else (404, {})
            case ["flow_runs", run_id, "resume"]:
                if self.runs[run_id]["state_type"] != "PAUSED":
                    return 200, {"status": "ABORT", "details": {"reason": "Cannot resume a flow run that is not paused."}}
                self.resumed[run_id] = body["run_input"]
                self.runs[run_id] |= {"state_type": "SCHEDULED", "state_name": "Resuming"}
                return 201, {"status": "ACCEPT"}
            case ["flow_runs", run_id, "set_state"]:
                self.runs[run_id] |= {"state_type": body["state"]["type"], "state_name": body["state"]["name"]}
                return 201, {"status": "ACCEPT"}
        return 404, {}
