-- The candidate serves: only on a row that serves already, was taken out, or is deploying this very candidate.
UPDATE model_registry_entries
SET deployment_status = 'ready',
    disabled_from = NULL,
    deployment_status_reason = NULL,
    deployment_namespace = %(namespace)s,
    deployment_endpoint = %(endpoint)s,
    candidate_fingerprint = %(fingerprint)s,
    helm_revision = %(helm_revision)s,
    deployment_git_commit = %(git_commit)s,
    verified_at = %(at)s,
    last_health_check_at = %(at)s,
    -- Earlier checks were of another candidate, or of one not verified yet.
    health_window = NULL,
    updated_at = %(at)s
WHERE model_name = %(model)s
    AND hub_revision = %(hub_revision)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND (deployment_status IN ('ready', 'degraded') OR disabled_from IS NOT NULL OR candidate_fingerprint = %(fingerprint)s);
