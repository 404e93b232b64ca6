-- Why and by whom the model was taken out of the environment, if it is out.
SELECT r.deployment_status_reason AS reason, (
    SELECT e.actor
    FROM slipway_events AS e
    WHERE e.model_name = %(model)s
        AND e.environment = %(environment)s
        AND e.organisation IS NOT DISTINCT FROM %(organisation)s
        AND e.kind = 'disabled'
    ORDER BY e.id DESC
    LIMIT 1
) AS actor
FROM model_registry_entries AS r
WHERE r.model_name = %(model)s
    AND r.deployment_environment = %(environment)s
    AND r.organisation IS NOT DISTINCT FROM %(organisation)s
    AND r.disabled_from IS NOT NULL
LIMIT 1;
