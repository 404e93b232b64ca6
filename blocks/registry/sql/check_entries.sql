-- Health was looked at: one statement for any number of entries. Time never goes back.
UPDATE model_registry_entries AS e
-- updated_at stays: a look is no change, and routers are not told of it.
SET last_health_check_at = greatest(e.last_health_check_at, %(at)s)
FROM unnest(%(organisations)s::text[], %(models)s::text[], %(hub_revisions)s::text[], %(environments)s::text[])
    AS checked (organisation, model_name, hub_revision, environment)
WHERE e.model_name = checked.model_name
    AND e.hub_revision = checked.hub_revision
    AND e.deployment_environment = checked.environment
    AND e.organisation IS NOT DISTINCT FROM checked.organisation;
