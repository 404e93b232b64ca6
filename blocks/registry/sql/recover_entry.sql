-- The candidate that was degraded answers well again. One that lost its endpoint (last event `displaced`) comes back by a release only:
-- what answers there now is another. With `degraded_by`, only what that one had degraded.
UPDATE model_registry_entries AS r
SET deployment_status = 'ready', deployment_status_reason = NULL, last_health_check_at = %(at)s, updated_at = %(at)s
WHERE model_name = %(model)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND candidate_fingerprint = %(fingerprint)s
    AND deployment_status = 'degraded'
    AND coalesce((
        SELECT e.kind <> 'displaced' AND (%(degraded_by)s::text IS NULL OR (e.kind = 'degraded' AND e.actor = %(degraded_by)s))
        FROM slipway_events AS e
        WHERE e.candidate_fingerprint = r.candidate_fingerprint
            AND e.model_name = r.model_name
            AND e.environment = r.deployment_environment
            AND e.organisation IS NOT DISTINCT FROM r.organisation
            AND e.kind = ANY(%(holding)s)
        ORDER BY e.id DESC
        LIMIT 1
    -- No event: a row that was there before Slipway. A verification may bring it back, a health check may not.
    ), %(degraded_by)s::text IS NULL);
