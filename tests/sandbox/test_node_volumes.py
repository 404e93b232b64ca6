"""Volumes and environment of containers on a node, seen through what a container writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sandbox.kubernetes.meta.client import CLAIMS, CONFIG_MAPS, PODS, SECRETS, VOLUMES
from sandbox.kubernetes.node.mounts import Mount, Rewriter, expand
from tests.sandbox.bench import Bench, conditions, wait_for

Object = dict[str, Any]


def output(bench: Bench, script: str, container: Object, **spec: Any) -> str:
    """What a container prints before it ends."""
    bench.pod("once", script, container=container, restartPolicy="Never", **spec)
    bench.wait(PODS, "once", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))
    return bench.logs("once")


def mount(name: str, path: str, **options: Any) -> Object:
    return {"name": name, "mountPath": path, **options}


def test_host_paths_are_shared_between_pods_of_a_node(bench: Bench) -> None:
    disk = bench.cluster.node("node-1").disk / bench.namespace
    disk.mkdir(parents=True)
    (disk / "weights").write_text("abc")
    volumes = [{"name": "models", "hostPath": {"path": f"/{bench.namespace}", "type": "Directory"}}]

    text = output(bench, "cat /models/weights; echo more > /models/new", {"volumeMounts": [mount("models", "/models")]}, volumes=volumes)

    assert text == "abc\n"
    assert (disk / "new").read_text() == "more\n"


def test_a_host_path_that_must_exist_holds_the_pod_back(bench: Bench) -> None:
    volumes = [{"name": "models", "hostPath": {"path": f"/{bench.namespace}", "type": "Directory"}}]
    bench.pod("web", "ls /models", container={"volumeMounts": [mount("models", "/models")]}, volumes=volumes, restartPolicy="Never")

    told = wait_for(lambda: bench.events("web", "FailedMount"))

    path = f"/{bench.namespace}"
    assert told == [f'MountVolume.SetUp failed for volume "models" : hostPath type check failed: {path} is not a directory']
    pod = bench.get(PODS, "web")
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    (bench.cluster.node("node-1").disk / bench.namespace).mkdir(parents=True)
    bench.wait(PODS, "web", lambda item: item["status"]["phase"] == "Succeeded")


def test_secrets_and_config_maps_as_files_and_variables(bench: Bench) -> None:
    bench.create(SECRETS, "s", stringData={"token": "geheim", "unused": "x"})
    bench.create(CONFIG_MAPS, "c", data={"a.txt": "one", "LEVEL": "debug"})
    container = {
        "volumeMounts": [mount("secret", "/etc/secret"), mount("config", "/etc/config.txt", subPath="a.txt")],
        "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "APP_"}, {"secretRef": {"name": "none", "optional": True}}],
        "env": [
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "none", "optional": True}}},
            {"name": "WHERE", "value": "$(TOKEN)/$(APP_LEVEL)/$(NONE)/$$(TOKEN)"},
        ],
    }
    volumes = [
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "token", "path": "sub/t", "mode": 0o400}]}},
        {"name": "config", "configMap": {"name": "c"}},
    ]

    script = "cd /etc/secret; find . -type f; stat -c %a sub/t; cat sub/t; echo; cat /etc/config.txt; echo; echo $WHERE ${MAYBE-unset}"

    assert output(bench, script, container, volumes=volumes).splitlines() == [
        "./sub/t",
        "400",
        "geheim",
        "one",
        "geheim/debug/$(NONE)/$(TOKEN) unset",
    ]


def test_the_pod_knows_itself(bench: Bench) -> None:
    def own(name: str, path: str) -> Object:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    container = {
        "env": [
            own("NAME", "metadata.name"),
            own("NODE", "spec.nodeName"),
            own("IP", "status.podIP"),
            own("ACCOUNT", "spec.serviceAccountName"),
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
        "resources": {"limits": {"memory": "256Mi", "nvidia.com/gpu": "2"}},
    }

    script = (
        'echo $NAME $NODE $ACCOUNT $MEMORY; test "$IP" = "$SANDBOX_POD_IP" && echo same; echo $NVIDIA_VISIBLE_DEVICES | tr , "\\n" | wc -l'
    )

    assert output(bench, script, container).split() == ["once", "node-1", "default", "256", "same", "2"]


def test_nothing_of_ours_leaks_into_a_container(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setenv("LEAK", "1")

    names = {line.partition("=")[0] for line in output(bench, "env", {"env": [{"name": "MINE", "value": "1"}]}).splitlines()}

    known = {"PATH", "HOME", "TMPDIR", "HOSTNAME", "PWD", "MINE"}
    ours = {"SANDBOX_POD_IP", "SANDBOX_MOUNTS", "SANDBOX_NAMES", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}
    assert names - {"SHLVL", "_", "OLDPWD"} == known | ours


def test_a_service_account_token_opens_the_api(bench: Bench) -> None:
    script = """
import json, os, ssl, urllib.request
(account,) = [mount["path"] for mount in json.loads(os.environ["SANDBOX_MOUNTS"]).values()]
tls = ssl.create_default_context(cafile=account + "/ca.crt")
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/apis/authentication.k8s.io/v1/selfsubjectreviews"
body = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).encode()
headers = {"Authorization": "Bearer " + open(account + "/token").read(), "Content-Type": "application/json"}
answer = json.load(urllib.request.urlopen(urllib.request.Request(url, body, headers), context=tls))
print(answer["status"]["userInfo"]["username"], open(account + "/namespace").read())
"""
    bench.pod("once", script, image="python", restartPolicy="Never")

    bench.wait(PODS, "once", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))

    assert bench.logs("once").strip() == f"system:serviceaccount:{bench.namespace}:default {bench.namespace}"


def rewriter(*paths: str) -> Rewriter:
    return Rewriter(Mount(mount_path=path, local=Path("/disk") / str(number), read_only=False) for number, path in enumerate(paths))


def test_mount_paths_in_arguments_are_rewritten_longest_first() -> None:
    texts = rewriter("/models", "/models/cache", "/cache")

    assert texts.rewrite("/models/x") == "/disk/0/x"
    assert texts.rewrite("--root=/models/cache/y") == "--root=/disk/1/y"
    assert texts.rewrite("/models:/models/cache,/cache") == "/disk/0:/disk/1,/disk/2"
    assert texts.rewrite("ls /models; cat '/cache/a'") == "ls /disk/0; cat '/disk/2/a'"
    assert texts.rewrite("/modelsx /var/models http://host/models") == "/modelsx /var/models http://host/models"


def test_programs_can_look_mounts_up() -> None:
    mounts = Rewriter([Mount(mount_path="/models", local=Path("/disk/a"), read_only=True)])

    assert json.loads(mounts.described()) == {"/models": {"path": "/disk/a", "readOnly": True}}


def test_variables_expand_as_in_kubernetes() -> None:
    assert expand("$(A)-$(B)-$$(A)-$A-$$$(A)", {"A": "1"}) == "1-$(B)-$(A)-$A-$1"


def local_volume(bench: Bench, path: str, **spec: Any) -> None:
    """A volume that every node has under this path, and the claim that it is kept for; both named after the bench."""
    affinity = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}
    modes, size = {"accessModes": ["ReadWriteMany"]}, {"storage": "1Gi"}
    claim = {"namespace": bench.namespace, "name": "claim"}
    bench.create(
        VOLUMES,
        bench.namespace,
        spec={"capacity": size, **modes, "local": {"path": path}, "nodeAffinity": {"required": affinity}, "claimRef": claim, **spec},
    )
    bench.create(CLAIMS, "claim", spec={**modes, "volumeName": bench.namespace, "storageClassName": "", "resources": {"requests": size}})


CLAIMED: Object = {"name": "store", "persistentVolumeClaim": {"claimName": "claim"}}


def test_a_claim_is_bound_to_its_volume_and_pods_share_the_nodes_own_folder(bench: Bench) -> None:
    disk = bench.cluster.node("node-1").disk / bench.namespace
    disk.mkdir(parents=True)
    (disk / "weights").write_text("abc")
    # a pod that comes first waits, in the scheduler's words
    container = {"volumeMounts": [mount("store", "/store")]}
    bench.pod("once", "cat /store/weights; echo more > /store/new", container=container, restartPolicy="Never", volumes=[CLAIMED])
    waiting = bench.wait(PODS, "once", lambda pod: "PodScheduled" in conditions(pod))
    assert 'persistentvolumeclaim "claim" not found. ' in conditions(waiting)["PodScheduled"]["message"]

    local_volume(bench, f"/{bench.namespace}")
    bench.wait(PODS, "once", lambda pod: pod["status"].get("phase") == "Succeeded")

    assert bench.logs("once") == "abc\n"
    assert (disk / "new").read_text() == "more\n"
    claim, volume = bench.get(CLAIMS, "claim"), bench.get(VOLUMES, bench.namespace)
    assert (claim["status"]["phase"], volume["status"]["phase"]) == ("Bound", "Bound")
    assert volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"]


def test_a_volume_whose_folder_the_node_lacks_holds_the_pod_back(bench: Bench) -> None:
    local_volume(bench, f"/{bench.namespace}")
    bench.pod("web", "true", container={"volumeMounts": [mount("store", "/store")]}, volumes=[CLAIMED])

    told = wait_for(lambda: bench.events("web", "FailedMount"))

    why = f'path "/{bench.namespace}" does not exist'
    assert told == [f'MountVolume.NewMounter initialization failed for volume "{bench.namespace}" : {why}']


def test_a_folder_that_a_read_only_volume_lacks_is_not_made(bench: Bench) -> None:
    disk = bench.cluster.node("node-1").disk / bench.namespace
    disk.mkdir(parents=True)
    local_volume(bench, f"/{bench.namespace}", mountOptions=["ro"])
    container = {"volumeMounts": [mount("store", "/store", subPath="models/gone")]}
    bench.pod("web", "true", container=container, volumes=[CLAIMED])

    status = bench.wait_container("web", lambda status: "message" in status["state"].get("waiting", {}))

    assert status["state"]["waiting"] == {
        "reason": "CreateContainerConfigError",
        "message": 'failed to create subPath directory for volumeMount "store" of container "c"',
    }
    assert not (disk / "models").exists()


def test_a_volume_is_for_its_claim_alone_and_released_with_it(bench: Bench) -> None:
    local_volume(bench, "/x")
    bench.wait(CLAIMS, "claim", lambda claim: claim["status"]["phase"] == "Bound")
    spec = bench.get(CLAIMS, "claim")["spec"]
    bench.create(CLAIMS, "other", spec=spec)

    bench.delete(CLAIMS, "claim")
    bench.wait(VOLUMES, bench.namespace, lambda volume: volume["status"]["phase"] == "Released")
    bench.create(CLAIMS, "claim", spec=spec)

    assert {claim["status"]["phase"] for claim in bench.list(CLAIMS)} == {"Pending"}
