"""The CustomResourceDefinitions of Argo CD, with the fields that this controller and its users read or write.

As on a real cluster, what a definition does not name is dropped when an object is written. Left out of the real ones: sources that are
neither Helm nor plain folders in detail (any content is kept), the source hydrator, ApplicationSets, printed columns, and descriptions.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

GROUP, VERSION = "argoproj.io", "v1alpha1"

_STRING: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer", "format": "int64"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_ANY: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _fields(*required: str, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, **({"required": list(required)} if required else {})}


_PAIR = _fields(name=_STRING, value=_STRING)
_STRINGS = _list(_STRING)
_HELM = _fields(
    apiVersions=_STRINGS,
    fileParameters=_list(_fields(name=_STRING, path=_STRING)),
    ignoreMissingValueFiles=_FLAG,
    kubeVersion=_STRING,
    namespace=_STRING,
    parameters=_list(_fields(name=_STRING, value=_STRING, forceString=_FLAG)),
    passCredentials=_FLAG,
    releaseName=_STRING,
    skipCrds=_FLAG,
    skipSchemaValidation=_FLAG,
    skipTests=_FLAG,
    valueFiles=_STRINGS,
    values=_STRING,
    valuesObject=_ANY,
    version=_STRING,
)
_SOURCE = _fields(
    "repoURL",
    chart=_STRING,
    directory=_ANY,
    helm=_HELM,
    kustomize=_ANY,
    name=_STRING,
    path=_STRING,
    plugin=_ANY,
    ref=_STRING,
    repoURL=_STRING,
    targetRevision=_STRING,
)
_SOURCES = _list(_SOURCE)
_DESTINATION = _fields(name=_STRING, namespace=_STRING, server=_STRING)
_RETRY = _fields(
    backoff=_fields(duration=_STRING, factor=_NUMBER, maxDuration=_STRING),
    limit=_NUMBER,
    refresh=_FLAG,
)
_IGNORED = _list(
    _fields(
        "kind",
        group=_STRING,
        jqPathExpressions=_STRINGS,
        jsonPointers=_STRINGS,
        kind=_STRING,
        managedFieldsManagers=_STRINGS,
        name=_STRING,
        namespace=_STRING,
    )
)
_NAMED_RESOURCE: dict[str, Schema] = {"group": _STRING, "kind": _STRING, "name": _STRING, "namespace": _STRING}
_OPERATION = _fields(
    info=_list(_fields("name", "value", name=_STRING, value=_STRING)),
    initiatedBy=_fields(automated=_FLAG, username=_STRING),
    retry=_RETRY,
    sync=_fields(
        autoHealAttemptsCount=_NUMBER,
        dryRun=_FLAG,
        manifests=_STRINGS,
        prune=_FLAG,
        resources=_list(_fields("kind", "name", **_NAMED_RESOURCE)),
        revision=_STRING,
        revisions=_STRINGS,
        source=_SOURCE,
        sources=_SOURCES,
        syncOptions=_STRINGS,
        syncStrategy=_fields(apply=_fields(force=_FLAG), hook=_fields(force=_FLAG)),
    ),
)
_HEALTH = _fields(lastTransitionTime=_TIME, message=_STRING, status=_STRING)
_RESULT = _fields(
    "revision",
    managedNamespaceMetadata=_ANY,
    resources=_list(
        _fields(
            "group",
            "kind",
            "name",
            "namespace",
            "version",
            **_NAMED_RESOURCE,
            hookPhase=_STRING,
            hookType=_STRING,
            images=_STRINGS,
            message=_STRING,
            status=_STRING,
            syncPhase=_STRING,
            version=_STRING,
        )
    ),
    revision=_STRING,
    revisions=_STRINGS,
    source=_SOURCE,
    sources=_SOURCES,
)
_STATUS = _fields(
    conditions=_list(_fields("message", "type", lastTransitionTime=_TIME, message=_STRING, type=_STRING)),
    controllerNamespace=_STRING,
    health=_HEALTH,
    history=_list(
        _fields(
            "deployedAt",
            "id",
            deployStartedAt=_TIME,
            deployedAt=_TIME,
            id=_NUMBER,
            initiatedBy=_fields(automated=_FLAG, username=_STRING),
            revision=_STRING,
            revisions=_STRINGS,
            source=_SOURCE,
            sources=_SOURCES,
        )
    ),
    observedAt=_TIME,
    operationState=_fields(
        "operation",
        "phase",
        "startedAt",
        finishedAt=_TIME,
        message=_STRING,
        operation=_OPERATION,
        phase=_STRING,
        retryCount=_NUMBER,
        startedAt=_TIME,
        syncResult=_RESULT,
    ),
    reconciledAt=_TIME,
    resourceHealthSource=_STRING,
    resources=_list(
        _fields(
            **_NAMED_RESOURCE,
            health=_HEALTH,
            hook=_FLAG,
            requiresDeletionConfirmation=_FLAG,
            requiresPruning=_FLAG,
            status=_STRING,
            syncWave=_NUMBER,
            version=_STRING,
        )
    ),
    sourceType=_STRING,
    sourceTypes=_STRINGS,
    summary=_fields(externalURLs=_STRINGS, images=_STRINGS),
    sync=_fields(
        "status",
        comparedTo=_fields("destination", destination=_DESTINATION, ignoreDifferences=_IGNORED, source=_SOURCE, sources=_SOURCES),
        revision=_STRING,
        revisions=_STRINGS,
        status=_STRING,
    ),
)
_APPLICATION = _fields(
    "metadata",
    "spec",
    metadata={"type": "object"},
    operation=_OPERATION,
    spec=_fields(
        "destination",
        "project",
        destination=_DESTINATION,
        ignoreDifferences=_IGNORED,
        info=_list(_PAIR),
        project=_STRING,
        revisionHistoryLimit=_NUMBER,
        source=_SOURCE,
        sources=_SOURCES,
        syncPolicy=_fields(
            automated=_fields(allowEmpty=_FLAG, enabled=_FLAG, prune=_FLAG, selfHeal=_FLAG),
            managedNamespaceMetadata=_ANY,
            retry=_RETRY,
            syncOptions=_STRINGS,
        ),
    ),
    status=_STATUS,
)
_GROUP_KINDS = _list(_fields("group", "kind", group=_STRING, kind=_STRING, name=_STRING))
_PROJECT = _fields(
    "metadata",
    "spec",
    metadata={"type": "object"},
    spec=_fields(
        clusterResourceBlacklist=_GROUP_KINDS,
        clusterResourceWhitelist=_GROUP_KINDS,
        description=_STRING,
        destinationServiceAccounts=_list(_ANY),
        destinations=_list(_DESTINATION),
        namespaceResourceBlacklist=_GROUP_KINDS,
        namespaceResourceWhitelist=_GROUP_KINDS,
        orphanedResources=_ANY,
        permitOnlyProjectScopedClusters=_FLAG,
        roles=_list(_fields("name", description=_STRING, groups=_STRINGS, jwtTokens=_list(_ANY), name=_STRING, policies=_STRINGS)),
        signatureKeys=_list(_fields("keyID", keyID=_STRING)),
        sourceNamespaces=_STRINGS,
        sourceRepos=_STRINGS,
        syncWindows=_list(
            _fields(
                andOperator=_FLAG,
                applications=_STRINGS,
                clusters=_STRINGS,
                description=_STRING,
                duration=_STRING,
                kind=_STRING,
                manualSync=_FLAG,
                namespaces=_STRINGS,
                schedule=_STRING,
                syncOverrun=_FLAG,
                timeZone=_STRING,
            )
        ),
    ),
    status=_fields(jwtTokensByRole=_ANY),
)


def _definition(kind: str, plural: str, schema: Schema, *short_names: str) -> Schema:
    described = {**schema, "properties": {"apiVersion": _STRING, "kind": _STRING, **schema["properties"]}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "argocd"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": list(short_names),
            },
            "scope": "Namespaced",
            # Applications have no status subresource: whoever may patch one may ask for operations, and end them.
            "versions": [{"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": described}}],
        },
    }


DEFINITIONS: tuple[Schema, ...] = (
    _definition("Application", "applications", _APPLICATION, "app", "apps"),
    _definition("AppProject", "appprojects", _PROJECT, "appproj", "appprojs"),
)
