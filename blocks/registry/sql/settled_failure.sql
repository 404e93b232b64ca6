-- A run's failure in an environment which the run settled as its last deed there: the last one of its candidate.
SELECT f.detail ->> 'reason' AS reason, f.detail ->> 'error' AS error, NULL AS replaces
FROM slipway_events AS f
WHERE f.run_id = %(run_id)s
    AND f.candidate_fingerprint = %(fingerprint)s
    AND f.model_name = %(model)s
    AND f.environment = %(environment)s
    AND f.organisation IS NOT DISTINCT FROM %(organisation)s
    AND f.kind = 'failed'
    AND (
        SELECT e.kind = ANY(%(settling)s)
        FROM slipway_events AS e
        WHERE e.run_id = f.run_id
            AND e.model_name = f.model_name
            AND e.environment = f.environment
            AND e.organisation IS NOT DISTINCT FROM f.organisation
            AND (e.kind = ANY(%(steps)s) OR e.kind = ANY(%(settling)s))
        ORDER BY e.id DESC
        LIMIT 1
    )
ORDER BY f.id DESC
LIMIT 1;
