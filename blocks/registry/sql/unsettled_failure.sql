-- A run's failure in an environment which nobody has settled: the last one of its candidate, if that was deployed, the run has not put the
-- environment right since, and no other run has done anything there since. What it replaces is what held the endpoint when the run began.
SELECT
    f.detail ->> 'reason' AS reason,
    f.detail ->> 'error' AS error,
    (
        SELECT b.detail ->> 'replaces'
        FROM slipway_events AS b
        WHERE b.run_id = f.run_id
            AND b.id < f.id
            AND b.candidate_fingerprint = f.candidate_fingerprint
            AND b.model_name = f.model_name
            AND b.environment = f.environment
            AND b.organisation IS NOT DISTINCT FROM f.organisation
            AND b.kind = 'deploying'
        ORDER BY b.id DESC
        LIMIT 1
    ) AS replaces
FROM (
    SELECT *
    FROM slipway_events
    WHERE run_id = %(run_id)s
        AND candidate_fingerprint = %(fingerprint)s
        AND model_name = %(model)s
        AND environment = %(environment)s
        AND organisation IS NOT DISTINCT FROM %(organisation)s
        AND kind = 'failed'
    ORDER BY id DESC
    LIMIT 1
) AS f
WHERE f.detail ->> 'deployed' = 'true'
    AND NOT EXISTS (
        SELECT
        FROM slipway_events AS e
        WHERE e.model_name = f.model_name
            AND e.environment = f.environment
            AND e.organisation IS NOT DISTINCT FROM f.organisation
            AND e.id > f.id
            AND CASE WHEN e.run_id = f.run_id THEN e.kind = ANY(%(settling)s) ELSE e.kind = ANY(%(steps)s) END
    );
