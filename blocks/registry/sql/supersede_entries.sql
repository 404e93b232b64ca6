-- What served before in this environment serves no more.
UPDATE model_registry_entries
SET deployment_status = 'disabled', disabled_from = NULL, deployment_status_reason = %(reason)s, updated_at = %(at)s
WHERE model_name = %(model)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND (deployment_status IN ('ready', 'degraded') OR disabled_from IS NOT NULL)
    -- The row of the same commit is the one that is ready now, whichever candidate it held.
    AND hub_revision <> %(hub_revision)s
RETURNING candidate_fingerprint AS fingerprint;
