-- Entries; a filter that is NULL does not filter. Rows that are not Slipway's (no environment, commit or status) are left out.
-- Times are cast for a table that was there before Slipway: its columns may be without a zone (settings.sql reads them as UTC).
SELECT
    organisation, model_name AS model, hub_revision, deployment_environment AS environment, deployment_namespace AS namespace,
    deployment_endpoint AS endpoint, deployment_status AS status, deployment_status_reason AS status_reason,
    disabled_from, candidate_fingerprint AS fingerprint, helm_revision, deployment_git_commit AS git_commit, verified_at::timestamptz AS verified_at,
    last_health_check_at::timestamptz AS last_health_check_at, created_at::timestamptz AS created_at, updated_at::timestamptz AS updated_at
FROM model_registry_entries
-- The casts: of a parameter that is only compared with NULL, PostgreSQL cannot tell the type.
WHERE deployment_environment IS NOT NULL AND hub_revision IS NOT NULL AND deployment_status IS NOT NULL
    AND (%(model)s::text IS NULL OR model_name = %(model)s)
    AND (%(environment)s::text IS NULL OR deployment_environment = %(environment)s)
    AND (%(status)s::text IS NULL OR deployment_status = %(status)s)
ORDER BY model_name, deployment_environment, updated_at DESC, hub_revision;
