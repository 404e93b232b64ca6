-- The candidate was verified while the model is taken out: it takes the place, and stays out.
UPDATE model_registry_entries
-- On the right stands the row as it was: ready.
SET deployment_status = 'disabled', disabled_from = deployment_status, deployment_status_reason = %(reason)s
WHERE model_name = %(model)s
    AND hub_revision = %(hub_revision)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND deployment_status = 'ready';
