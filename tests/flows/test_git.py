"""What Git is made to say, and whether the world still is what it says: no Prefect, the real helm, git and registry, Argo CD's stand-in."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import AppsV1Api, CoreV1Api
from kubernetes.config import new_client_from_config
from pydantic import SecretStr

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.errors import GitRejected, HelmRejected
from blocks.gitops import GitOps
from blocks.helm import Helm
from blocks.registry import Gate, Registry, RegistryClient
from blocks.secret_shapes import looks_secret
from flows.delivery.application import sync_policy
from flows.delivery.argocd import sync
from flows.delivery.drift import Drift
from flows.delivery.engines import Rearrange, taken_over, with_beside, with_weight
from flows.delivery.git import commit, commit_engines, commit_leaving, commit_removal, commit_rollback
from flows.delivery.git_files import Commit
from flows.delivery.live import changed_in_git, left_different, look_for_drift
from flows.delivery.provenance import Provenance
from flows.delivery.sync import is_synced_and_differs
from flows.errors import SpecInvalid
from flows.naming import release_name
from flows.placement.assess import ReleasePlan
from flows.placement.budget import load_budget
from flows.placement.capacity import StrategyName
from flows.spec import Candidate, EngineSettings, Environment, IgnoredDifference
from flows.spec.load import ROOT
from sandbox.argocd.controller import ApplicationController
from sandbox.git import BareRepository, git
from sandbox.helm import helm_executable
from sandbox.world import World
from tests.gitops.layout import applied
from tests.support.examples import candidate, environment


@dataclass(kw_only=True)
class Desk:
    """A repository and all that a commit to it takes."""

    repository: BareRepository
    block: GitOps
    helm: Helm
    registry: Registry
    candidate: Candidate
    environment: Environment
    strategy: StrategyName = "surge"

    @property
    def plan(self) -> ReleasePlan:
        name = release_name(self.candidate.model, self.environment.name)
        return ReleasePlan(
            helm_release=name,
            endpoint=f"{name}:8000",
            nodes=("gpu-1",),
            budget=load_budget(1000, replicas=1),
            strategy=self.strategy,
            interruption_seconds=0.0,
            replicas=1,
        )

    @property
    def folder(self) -> str:
        return f"environments/{self.environment.name}/{self.candidate.model}"

    def commit(self, run_id: str = "run-1", **changes: Any) -> str:
        given = {"candidate": self.candidate, "environment": self.environment, **changes}
        return commit(self.block, self.helm, self.registry, Commit(**given, plan=self.plan, run_id=run_id, requester="zoe"))

    def back(self, wanted: Candidate, run_id: str = "run-9") -> str:
        why = {"requester": "on-call", "reason": "answers are cut off"}
        change = Commit(candidate=wanted, environment=self.environment, plan=self.plan, run_id=run_id, **why)
        return commit_rollback(self.block, self.helm, self.registry, change)

    def verified(self, wanted: Candidate, sha: str, run_id: str) -> None:
        """Record what a release records that ends well."""
        with self.registry.client() as client:
            where = {"model": wanted.model, "environment": self.environment.name, "fingerprint": wanted.fingerprint, "run_id": run_id}
            client.candidates.register(wanted.fingerprint, wanted.document(), wanted.model, wanted.commit)
            client.lifecycle.begin(**where, hub_revision=wanted.commit, namespace=self.environment.namespace, endpoint=self.plan.endpoint)
            client.lifecycle.mark_ready(**where, git_commit=sha, evidence_sha256=client.evidence.save("verification", {"of": run_id}))

    def read(self, name: str, sha: str | None = None) -> Any:
        return yaml.safe_load(self.repository.read(f"{self.folder}/{name}", sha))


@pytest.fixture
def desk(world: World, tmp_path: Path) -> Desk:
    unique = uuid.uuid4().hex[:8]
    repository = BareRepository(tmp_path / "models.git")
    repository.commit({"README.md": "Models\n"})
    dsn = world.postgres.create_database(f"desk_{unique}")
    with RegistryClient(dsn) as client:
        client.migrate()
    helm = Helm(kubeconfig=world.cluster.kubeconfig, chart=ROOT / "charts" / "vllm-deployment", executable=str(helm_executable()))
    with helm.client() as charts:
        made = candidate(chart_digest=charts.chart_digest(), model=f"tiny-{unique}x")
    where = environment(name="production", namespace=f"production-{unique}", after="staging", values={"replicas": 1})
    return Desk(
        repository=repository,
        block=GitOps(url=repository.url),
        helm=helm,
        registry=Registry(dsn=SecretStr(dsn)),
        candidate=made,
        environment=where,
    )


def approve(desk: Desk, run_id: str) -> None:
    """Record what the gate records: two people, of whom one was asked again."""
    gate = Gate(
        run_id=run_id, name="production-1", model=desk.candidate.model, environment="production", fingerprint=desk.candidate.fingerprint
    )
    with desk.registry.client() as client:
        client.candidates.register(desk.candidate.fingerprint, desk.candidate.document(), desk.candidate.model, desk.candidate.commit)
        client.approvals.mark(gate, "approval_requested", {"evidence_sha256": "e" * 64, "requester": "zoe"})
        for number, who in enumerate(("ada", "bob"), 1):
            client.events.add(
                "approved",
                model=gate.model,
                environment="production",
                fingerprint=gate.fingerprint,
                run_id=run_id,
                actor=who,
                detail={"gate": gate.name, "round": number},
            )
        client.approvals.mark(gate, "approval_granted", {"approvers": ["ada", "bob"], "emergency": False})


def test_a_promotion_is_one_commit_with_values_chart_and_grounds(desk: Desk) -> None:
    approve(desk, "run-1")

    sha = desk.commit()

    (first, message), *_ = desk.repository.log()
    assert first == sha
    assert message.endswith(f"Run: run-1\nEvidence: {'e' * 64}\nRequested-by: zoe\nApproved-by: ada\nApproved-by: bob")
    assert [one["approver"] for one in desk.read("release.yaml")["approvals"]] == ["ada", "bob"]
    values = desk.read("values.yaml")
    assert values["candidate"]["fingerprint"] == desk.candidate.fingerprint
    assert values["terminationGracePeriodSeconds"] == 120  # the chart's own for production
    # the chart in Git is the candidate's
    with desk.block.client() as client, client.checkout() as tree:
        here = desk.helm.model_copy(update={"chart": tree.folder / desk.folder / "chart"})
        with here.client() as charts:
            assert charts.chart_digest() == desk.candidate.chart_digest

    # and whoever comes again, killed before or after, finds it
    log = desk.repository.log()
    assert desk.commit() == sha
    assert desk.repository.log() == log


def test_a_canary_is_a_commit_a_step_and_git_says_which_of_both_serves(desk: Desk) -> None:
    # given one that serves, and another one
    old, new, where = desk.candidate, replace(desk.candidate, commit="2" * 40), desk.environment
    first = desk.commit()
    desk.verified(old, first, "run-1")
    says = Commit(candidate=new, environment=where, plan=desk.plan, run_id="run-2", requester="zoe")

    def arranged(rearrange: Rearrange, verb: str) -> str:
        return commit_engines(desk.block, desk.helm, desk.registry, says, rearrange=rearrange, verb=verb)

    def drifted() -> tuple[str, ...]:
        with desk.block.client() as client, client.checkout() as tree:
            return changed_in_git(tree, desk.folder, first)

    # when it comes beside, gets a share by a route, and takes over
    tried = arranged(with_beside, "try")
    assert desk.read("release.yaml")["candidate"]["fingerprint"] == old.fingerprint
    assert desk.read("release.yaml")["beside"]["candidate"]["fingerprint"] == new.fingerprint
    assert drifted() == ()  # what serves is what was committed for it
    shifted = arranged(with_weight(25), "give 25 % to")
    assert desk.read("values.yaml")["beside"]["weight"] == 25
    taken = arranged(taken_over, "promote")

    # then each is one commit, and done again none
    assert arranged(taken_over, "promote") == arranged(with_beside, "try") == taken
    subjects = [message.splitlines()[0].partition(": ")[2] for _, message in desk.repository.log()][:4]
    short = new.fingerprint[:12]
    assert subjects == [
        f"promote candidate {short}",
        f"give 25 % to candidate {short}",
        f"try candidate {short}",
        f"promote candidate {old.short}",
    ]
    assert len({first, tried, shifted, taken}) == 4
    values, release = desk.read("values.yaml"), desk.read("release.yaml")
    assert (values["slot"], values["beside"]["warm"], values["beside"]["candidate"]["fingerprint"]) == ("b", True, old.fingerprint)
    assert (release["candidate"]["fingerprint"], release["beside"]["warm"]) == (new.fingerprint, True)

    # when people go back while the old one is warm, both are there again at the commit of before; but for the way it is the same
    back = desk.back(old)
    assert "beside" not in desk.read("values.yaml")
    assert "slot" not in desk.read("values.yaml")
    assert desk.read("release.yaml")["candidate"]["fingerprint"] == old.fingerprint
    assert desk.repository.log()[0][0] == back

    # when it has taken over for good, and people go back to what is there no longer
    arranged(with_beside, "try")
    desk.verified(new, arranged(taken_over, "promote"), "run-2")
    provenance = Provenance(run_id="run-2", reason="it was replaced")
    assert commit_leaving(desk.block, desk.helm, where, old.model, old.fingerprint, provenance) is not None
    assert commit_leaving(desk.block, desk.helm, where, old.model, old.fingerprint, provenance) is None
    assert (desk.read("values.yaml")["slot"], "beside" in desk.read("values.yaml")) == ("b", False)
    assert "beside" not in desk.read("release.yaml")
    desk.back(old)

    # then it comes in the place of what serves, and no canary with it
    assert (desk.read("values.yaml")["slot"], "beside" in desk.read("values.yaml")) == ("b", False)
    assert desk.read("values.yaml")["candidate"]["fingerprint"] == old.fingerprint == desk.read("release.yaml")["candidate"]["fingerprint"]
    # and one that is committed plainly stays where it is
    desk.commit(candidate=new)
    assert desk.read("values.yaml")["slot"] == "b"


def test_what_would_not_render_or_looks_like_a_secret_is_refused_before_the_commit(desk: Desk) -> None:
    log = desk.repository.log()
    wrong = replace(desk.environment, values={"replicas": "many"})
    argument = EngineSettings(max_model_len=256, extra_args=("--model", "other"))
    leaking = EngineSettings(max_model_len=256, extra_args=("--api-key", "hunter2"))

    with pytest.raises(HelmRejected, match=r"Helm refused: .*replicas.*integer") as caught:
        desk.commit(environment=wrong)
    assert "\n" not in caught.value.message
    with pytest.raises(HelmRejected, match=r"Helm refused: .*--model"):
        desk.commit(candidate=replace(desk.candidate, engine=argument))
    with pytest.raises(SpecInvalid, match=r"values\.yaml: engine\.extraArgs\[0\]: looks like a key of vLLM's server") as leaked:
        desk.commit(candidate=replace(desk.candidate, engine=leaking))
    assert "hunter2" not in leaked.value.message

    desk.repository.commit({f"{desk.folder}/values.yaml": "a: ["})
    with pytest.raises(SpecInvalid, match=rf"{desk.folder}/values\.yaml: not valid YAML.*mend it in Git"):
        desk.commit()
    assert desk.repository.log()[1:] == log


def test_what_is_removed_says_so_once_and_is_released_again_as_before(desk: Desk) -> None:
    def remove(fingerprint: str) -> str | None:
        provenance = Provenance(run_id="run-2", reason="it answers wrongly")
        return commit_removal(desk.block, desk.candidate.model, "production", fingerprint, provenance)

    # given nothing, or somebody else's candidate, then nothing is removed
    assert remove(desk.candidate.fingerprint) is None
    first = desk.commit()
    assert remove("f" * 64) is None
    told = desk.repository.read(f"{desk.folder}/values.yaml").replace("replicas:", "# two in summer\nreplicas:")
    desk.repository.commit({f"{desk.folder}/values.yaml": told})

    # when it is removed, twice as if it were killed, then it is one commit, and what Git has renders to nothing
    sha = remove(desk.candidate.fingerprint)
    assert sha is not None
    assert remove(desk.candidate.fingerprint) == sha == desk.repository.head
    subject, why, *_, candidate_, _, _, by = desk.repository.log()[0][1].replace("\n\n", "\n").splitlines()
    assert subject.endswith(f"in production: remove candidate {desk.candidate.short}")
    assert (why, candidate_, by) == ("> it answers wrongly", f"Candidate: {desk.candidate.fingerprint}", "Run: run-2")
    release, before = desk.read("release.yaml"), desk.read("release.yaml", first)
    assert release == {**before, "candidate": None, "evidence": None, "approvals": []}
    with desk.helm.client() as charts, desk.block.client() as git_, git_.checkout() as tree:
        here = tree.folder / desk.folder
        assert charts.rendered("tiny", "nowhere", here / "chart", here / "values.yaml") == []

    # and the next release is what the first one was, with people's comments
    again = desk.commit("run-3")
    assert desk.read("release.yaml", again) == before
    assert desk.read("values.yaml", again) == desk.read("values.yaml", first)
    assert "# two in summer\nreplicas:" in desk.repository.read(f"{desk.folder}/values.yaml")


def test_going_back_restores_the_verified_commit_whatever_came_between(desk: Desk) -> None:
    # given a verified candidate, with a comment and a file of somebody's
    once = desk.commit()
    desk.verified(desk.candidate, once, "run-1")
    told = desk.repository.read(f"{desk.folder}/values.yaml").replace("replicas:", "# two in summer\nreplicas:")
    desk.repository.commit({f"{desk.folder}/values.yaml": told, f"{desk.folder}/notes.md": "call Ada\n"})
    # and another with the same values but for the candidate, whose release failed
    other = replace(desk.candidate, commit="f" * 40)
    desk.commit("run-2", candidate=other)
    assert "# two in summer\nreplicas:" in desk.repository.read(f"{desk.folder}/values.yaml")

    # when it goes back, twice as if it were killed
    sha = desk.back(desk.candidate)
    assert desk.back(desk.candidate) == sha

    for name in ("values.yaml", "release.yaml", "chart/Chart.yaml"):
        assert desk.repository.read(f"{desk.folder}/{name}") == desk.repository.read(f"{desk.folder}/{name}", once)
    assert desk.repository.read(f"{desk.folder}/notes.md") == "call Ada\n"
    messages = [message for _, message in desk.repository.log()]
    assert messages[0].startswith(
        f"{desk.candidate.model} in production: back to candidate {desk.candidate.short}\n\n> answers are cut off\n"
    )
    assert len(messages) == 6  # nothing was forced away

    # the other was never verified, but Git knows it; and where its own way has no GPUs now, the plan's is taken
    desk.strategy = "recreate"
    desk.back(other)
    assert desk.read("values.yaml")["rollout"] == {"strategy": "recreate"}
    assert desk.read("release.yaml")["candidate"]["fingerprint"] == other.fingerprint
    with pytest.raises(GitRejected, match="never said that production runs candidate"):
        desk.back(replace(desk.candidate, commit="a" * 40))


def test_no_commit_holds_anything_that_looks_like_a_secret(desk: Desk) -> None:
    approve(desk, "run-1")
    desk.verified(desk.candidate, desk.commit(), "run-1")
    desk.commit("run-2", candidate=replace(desk.candidate, engine=EngineSettings(max_model_len=128, chat_template="{{ messages }}\n")))
    desk.back(desk.candidate)
    token = desk.block.model_copy(update={"token": SecretStr("hf_" + "a1B2" * 8)})
    other = replace(desk.candidate, commit="e" * 40)
    commit(token, desk.helm, desk.registry, Commit(candidate=other, environment=desk.environment, plan=desk.plan, run_id="run-4"))

    for sha, message in desk.repository.log()[:-2]:
        assert looks_secret(message) is None
        whole = git(desk.repository.folder, "show", "--format=", sha)
        assert len(whole) > 100
        assert looks_secret(whole) is None, sha


def test_drift_of_every_kind_is_found_where_it_arises(desk: Desk, world: World, argo: ApplicationController) -> None:
    # given a candidate that Argo CD has in place
    where = replace(desk.environment, name="development", namespace=f"development-{desk.candidate.model}")
    desk.environment = where
    kubeconfig = world.cluster.kubeconfig
    block, cluster, name = Argo(kubeconfig=kubeconfig), Cluster(kubeconfig=kubeconfig), desk.plan.helm_release
    policy = sync_policy(where, desk.candidate.model, desk.repository.url, "zoe")
    with new_client_from_config(str(kubeconfig)) as api:
        CoreV1Api(api).create_namespace({"metadata": {"name": where.namespace}})
        with applied(api, "development", desk.candidate.model, desk.repository.url, where.namespace) as followed:
            sha = desk.commit()
            sync(block, name, "argocd", sha, policy, 60)
            desk.verified(desk.candidate, sha, "run-1")

            def look() -> tuple[Drift, ...]:
                with desk.registry.client() as client:
                    (entry,) = client.entries(model=desk.candidate.model)
                return look_for_drift(block, desk.block, desk.helm, cluster, entry, where, policy)

            # and comments and files of people are no drift
            told = desk.repository.read(f"{desk.folder}/values.yaml").replace("replicas:", "# two in summer\nreplicas:")
            desk.repository.commit({f"{desk.folder}/values.yaml": told, f"{desk.folder}/notes.md": "call Ada\n"})
            assert look() == ()

            # when something on the cluster rewrites what is applied, as an admission webhook does
            followed.patch({"spec": {"syncPolicy": {"automated": {"prune": True, "selfHeal": False}}}})
            AppsV1Api(api).patch_namespaced_deployment(name, where.namespace, {"spec": {"progressDeadlineSeconds": 77}})
            webhook = IgnoredDifference(kind="Deployment", group="apps", json_pointers=("/spec/progressDeadlineSeconds",))
            lenient = replace(where, ignore_differences=(webhook,))
            with block.client() as client:
                while (seen := client.application("argocd", name)) is None or not is_synced_and_differs(seen, sha, policy):
                    pass

            # then what it is and where is told, and it holds nobody up where the environment ignores it
            def left(environment: Environment) -> tuple[str, ...] | None:
                return left_different(desk.block, desk.helm, cluster, environment, desk.candidate.model, sha, seen)

            (line,) = left(where) or ()
            said = re.fullmatch(rf"Deployment/{name} spec\.progressDeadlineSeconds: Git (\d+), live 77", line)
            assert said is not None, line
            assert left(lenient) == ()
            patient = sync_policy(lenient, desk.candidate.model, desk.repository.url, "zoe")
            sync(block, name, "argocd", sha, patient, 60, left=lambda _: left(lenient))
            with desk.registry.client() as known:
                (entry,) = known.entries(model=desk.candidate.model)
            assert look_for_drift(block, desk.block, desk.helm, cluster, entry, lenient, patient) == ()
            assert [drift.kind for drift in look()] == ["live"]
            AppsV1Api(api).patch_namespaced_deployment(name, where.namespace, {"spec": {"progressDeadlineSeconds": int(said[1])}})
            while look() != ():  # once it is gone, all is well again
                pass

            # when automated sync is switched off, and somebody changes the cluster by hand
            followed.patch({"spec": {"syncPolicy": {"automated": None}}})
            AppsV1Api(api).patch_namespaced_deployment(name, where.namespace, {"spec": {"replicas": 3}})
            while len(found := look()) < 2:
                pass
            assert [drift.kind for drift in found] == ["application", "live"]
            assert "does not sync by itself" in found[0].message
            assert found[1].difference == (f"Deployment/{name} spec.replicas: Git 1, live 3",)

            # when somebody changes Git
            desk.repository.commit(
                {f"{desk.folder}/values.yaml": desk.repository.read(f"{desk.folder}/values.yaml") + "podLabels: {a: b}\n"}
            )
            (in_git,) = [drift for drift in look() if drift.kind == "git"]
            assert in_git.difference[-1] == "+podLabels: {a: b}"

            # when a release is committed but never recorded
            desk.commit("run-2", candidate=replace(desk.candidate, commit="f" * 40))
            (in_git,) = [drift for drift in look() if drift.kind == "git"]
            assert f"the registry candidate {desk.candidate.short}" in in_git.message

        # when the Application is gone
        assert "There is no Argo CD Application" in look()[0].message
        CoreV1Api(api).delete_namespace(where.namespace)
