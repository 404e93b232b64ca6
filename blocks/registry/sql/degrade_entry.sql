-- The candidate that serves was found bad.
UPDATE model_registry_entries
SET deployment_status = 'degraded', deployment_status_reason = %(reason)s, last_health_check_at = %(at)s, updated_at = %(at)s
WHERE model_name = %(model)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    -- What was found bad may not serve any longer: then no row is touched.
    AND candidate_fingerprint = %(fingerprint)s
    AND deployment_status = 'ready';
