-- One entry by its key.
SELECT
    organisation, model_name AS model, hub_revision, deployment_environment AS environment, deployment_namespace AS namespace,
    deployment_endpoint AS endpoint, deployment_status AS status, deployment_status_reason AS status_reason,
    disabled_from, candidate_fingerprint AS fingerprint, helm_revision, deployment_git_commit AS git_commit, verified_at::timestamptz AS verified_at,
    last_health_check_at::timestamptz AS last_health_check_at, created_at::timestamptz AS created_at, updated_at::timestamptz AS updated_at
FROM model_registry_entries
WHERE model_name = %(model)s
    AND hub_revision = %(hub_revision)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s;
