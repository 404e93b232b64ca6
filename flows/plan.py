"""The plan flow: what a release would do and everything that speaks against it, without touching anything."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from blocks.errors import PipelineError
from flows.candidate.tasks import inspect
from flows.errors import raise_first
from flows.naming import release_name
from flows.placement.assess import Assessment, chosen_environments, placed
from flows.placement.page import environment_row, model_row, preview_page
from flows.placement.tasks import assess
from flows.runtime.artifacts import publish_plan
from flows.runtime.blocks import blocks_of, shared_hub
from flows.runtime.json_logs import about
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, foreseen, run
from flows.spec import Deployments, Environment
from flows.spec.types import EnvironmentName


@flow(name="plan", flow_run_name="plan {model} {revision}", persist_result=True, result_serializer=RESULTS)
async def plan(
    model: Annotated[str, Field(min_length=1, max_length=100)],
    revision: Annotated[str, Field(min_length=1, max_length=255)] = "main",
    environments: list[EnvironmentName] = [],  # noqa: B006  # Prefect shows the default in its form
) -> State[Any] | dict[str, Any]:
    """Show what a release would do, with the numbers, as an artifact of the run. Nothing is created, no GPU is touched.

    The run fails if anything speaks against a release to one of the environments; the artifact has all of it.

    Args:
        model: A model of deployments/models, by its file's name.
        revision: Branch, tag or commit on the hub.
        environments: Environments to plan for, for example development. Empty: all of them.
    """
    try:
        with foreseen(f"Planning {model}"):
            return await _plan(model, revision, environments)
    except PipelineError as exc:
        return ended(exc)


async def _plan(model_name: str, revision: str, wanted: list[str]) -> dict[str, Any]:
    about(model=model_name)
    deployments = Deployments.default()
    model = deployments.model(model_name)
    deployments.suite_of(model)  # refuses a suite that a release could not read
    environments = chosen_environments(deployments.environments(), wanted or None)
    sites = {environment.name: await blocks_of(environment) for environment in environments}
    hub = await shared_hub(deployments)

    # The chart of any environment will do: one that has another refuses the candidate.
    found = await run(inspect, hub, sites[environments[0].name].helm, model, revision)
    candidate = found.candidate
    about(candidate=candidate.fingerprint)

    async def one(environment: Environment) -> Assessment:
        about(environment=environment.name)
        blocks = sites[environment.name]
        assessed: Assessment = await run(assess, blocks.cluster, blocks.helm, model, candidate, environment)
        return assessed

    # `gather` makes each a task with a context of its own, so that `about` of one is not in the log lines of another.
    assessments = await asyncio.gather(*map(one, environments))
    page = preview_page(candidate, found.refusals, assessments, found.left_out, found.notes)
    rows = [environment_row(assessment) for assessment in assessments]
    # Before anything is raised: of a plan that is refused, the page is what people want.
    await run(publish_plan, release_name(model.name, "plan"), page, model_row(candidate, found.refusals), rows)
    # One sentence ends the run: the first refusal, and how many more the page has.
    raise_first([*found.refusals, *(refusal for assessment in assessments for refusal in placed(assessment))], model.name)
    return {"candidate": candidate.fingerprint, "environments": [assessment.environment.name for assessment in assessments]}
