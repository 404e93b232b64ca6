-- The candidate failed: the row that deploys it, or that served it if the cluster was changed.
UPDATE model_registry_entries
SET deployment_status = 'failed', deployment_status_reason = %(reason)s, updated_at = %(at)s
WHERE model_name = %(model)s
    AND hub_revision = %(hub_revision)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    -- The row may have been given to another candidate of the same commit since.
    AND candidate_fingerprint = %(fingerprint)s
    AND (deployment_status = 'deploying' OR (%(cluster_changed)s AND deployment_status IN ('ready', 'degraded')));
