"""What runs is told from what Helm rendered: by what an apply would change, and by who owns what it would leave."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from flows.delivery.drift import without
from flows.delivery.rendered import added, changed, handed_over
from flows.spec import IgnoredDifference

HELM_OWNS = {
    "f:metadata": {"f:labels": {"f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"vllm"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                    }
                }
            }
        },
    },
}
SET_ENV = {
    "f:spec": {
        "f:template": {
            "f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}},
            "f:spec": {"f:containers": {'k:{"name":"vllm"}': {"f:env": {'k:{"name":"B"}': {".": {}, "f:name": {}, "f:value": {}}}}}},
        }
    }
}


def entry(manager: str, fields: dict[str, Any], operation: str = "Update", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


def deployment(*entries: dict[str, Any], env: tuple[str, ...] = ("A",), **spec: Any) -> dict[str, Any]:
    container = {"name": "vllm", "image": "a", "env": [{"name": name, "value": name.lower()} for name in env]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "tiny", "labels": {"app": "tiny"}, "managedFields": [entry("helm", HELM_OWNS, "Apply"), *entries]},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}, **spec},
        "status": {"replicas": 1},
    }


def test_what_kubectl_set_env_added_is_named_with_its_owner() -> None:
    live = deployment(entry("kubectl-set", SET_ENV), env=("A", "B"))

    (one,) = added(live, ())

    assert (one.place, one.manager) == (".spec.template.spec.containers[vllm].env[B]", "kubectl-set")
    # an apply leaves it, so by itself the dry run shows nothing
    assert changed(live, live, ()) == ()


@pytest.mark.parametrize(
    "entries",
    [
        (),
        # who reports how it does, and who scales
        (entry("kube-controller-manager", {"f:status": {"f:replicas": {}}}, subresource="status"),),
        (entry("kube-controller-manager", {"f:spec": {"f:replicas": {}}}, subresource="scale"),),
        # labels and annotations of the object itself
        (entry("kubectl-annotate", {"f:metadata": {"f:annotations": {".": {}, "f:note": {}}}}),),
        # what an admission webhook wrote into Helm's own apply
        (entry("helm", {"f:spec": {"f:paused": {}}}),),
        (
            entry(
                "kubectl-rollout",
                {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}},
            ),
        ),
    ],
)
def test_what_belongs_there_is_no_drift(entries: tuple[dict[str, Any], ...]) -> None:
    assert added(deployment(*entries), ()) == ()


def test_a_client_without_a_name_and_an_entry_without_fields_are_read() -> None:
    unnamed, empty = entry("", SET_ENV), entry("kubectl", {})
    del unnamed["manager"], empty["fieldsV1"]
    live = deployment(unnamed, empty, env=("A", "B"))

    (one,) = added(live, ())

    assert one.manager == "somebody without a name"
    assert handed_over(live, [one]) is not None


def test_of_a_map_that_is_new_only_what_may_not_differ_is_named() -> None:
    annotations = {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {".": {}, "f:mesh.io/on": {}, "f:note": {}}}}}}
    live = deployment(entry("mesh", annotations))
    ours, theirs = (f"/spec/template/metadata/annotations/{name}" for name in ("note", "mesh.io~1on"))

    def places(*pointers: str) -> list[str]:
        ignored = [IgnoredDifference(kind="Deployment", group="apps", json_pointers=pointers)] if pointers else []
        return [one.place for one in added(live, ignored)]

    assert places() == [".spec.template.metadata.annotations"]
    assert places(theirs) == [".spec.template.metadata.annotations.note"]
    assert places(ours, theirs) == []


@pytest.mark.parametrize("number", ["²", "٣", "00", "-1", "-", "9" * 200])
def test_a_pointer_that_names_no_item_names_nothing(number: str) -> None:
    pointer = IgnoredDifference(kind="Deployment", group="apps", json_pointers=(f"/spec/template/spec/containers/{number}/env",))

    assert without(deployment(), [pointer]) == deployment()


def test_what_an_apply_would_change_is_named_with_both_values() -> None:
    rendered = deployment()
    live = deployment(env=("A", "B"), replicas=3, paused=True)
    del live["metadata"]["labels"]

    assert changed(rendered, live, ()) == (
        ".metadata.labels.app was removed",
        ".spec.paused was added",
        ".spec.replicas is 3, rendered 1",
        ".spec.template.spec.containers[vllm].env[B] was added",
    )


def test_fields_that_the_environment_names_may_differ() -> None:
    live = deployment(entry("kubectl-set", SET_ENV), env=("A", "B"), paused=True)
    env = IgnoredDifference(kind="Deployment", group="apps", json_pointers=("/spec/template/spec/containers/0/env/1", "/spec/paused"))
    elsewhere = IgnoredDifference(kind="Deployment", group="apps", name="other", json_pointers=("/spec/template/spec/containers/0/env",))

    assert added(live, [env]) == ()
    assert changed(deployment(env=("A", "B")), live, [env]) == ()
    assert len(added(live, [elsewhere])) == 1


def test_what_was_added_becomes_helms_and_nothing_else_changes_its_owner() -> None:
    scaled = entry("kubectl", {"f:spec": {"f:replicas": {}}}, subresource="scale")
    live = deployment(entry("kubectl-set", copy.deepcopy(SET_ENV)), scaled, env=("A", "B"))
    before = copy.deepcopy(live)

    owners = handed_over(live, added(live, ()))

    assert live == before
    assert owners is not None
    ours, kubectl, scale = owners
    env = ours["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"vllm"}']["f:env"]
    assert env == {name: {".": {}, "f:name": {}, "f:value": {}} for name in ('k:{"name":"A"}', 'k:{"name":"B"}')}
    assert kubectl["fieldsV1"] == {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}}}
    assert scale == scaled
    # and then an apply has nothing of others to leave
    assert added({**live, "metadata": {**live["metadata"], "managedFields": owners}}, ()) == ()


def test_what_helm_never_applied_cannot_be_handed_over() -> None:
    live = deployment(entry("kubectl-set", SET_ENV), env=("A", "B"))
    live["metadata"]["managedFields"] = live["metadata"]["managedFields"][1:]

    assert handed_over(live, added(live, ())) is None
