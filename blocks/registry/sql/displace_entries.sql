-- A failed candidate took the endpoint: rows that served another one do not serve it any longer.
UPDATE model_registry_entries
SET deployment_status = 'degraded', deployment_status_reason = %(reason)s, updated_at = %(at)s
WHERE model_name = %(model)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND deployment_status IN ('ready', 'degraded')
    AND hub_revision IS NOT NULL
    AND candidate_fingerprint IS DISTINCT FROM %(fingerprint)s
RETURNING candidate_fingerprint AS fingerprint;
