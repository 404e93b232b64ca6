-- A failed candidate took the endpoint: rows that served another one do not serve it any longer. What was taken out stays out.
UPDATE model_registry_entries
SET deployment_status = CASE WHEN disabled_from IS NULL THEN 'degraded' ELSE deployment_status END,
    deployment_status_reason = CASE WHEN disabled_from IS NULL THEN %(reason)s ELSE deployment_status_reason END,
    -- Put back it must not be ready: another candidate answers at its endpoint.
    disabled_from = CASE WHEN disabled_from IS NOT NULL THEN 'degraded' END,
    updated_at = %(at)s
WHERE model_name = %(model)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND hub_revision IS NOT NULL
    AND (
        disabled_from IS NOT NULL
        OR (deployment_status IN ('ready', 'degraded') AND candidate_fingerprint IS DISTINCT FROM %(fingerprint)s)
    )
RETURNING candidate_fingerprint AS fingerprint;
