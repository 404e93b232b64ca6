-- The latest verified candidate other than the given one whose last own verdict was good.
-- `displaced` and `superseded` are no verdicts, nor is a failure that never reached the cluster.
WITH verdicts AS (
    SELECT DISTINCT ON (candidate_fingerprint) candidate_fingerprint, kind
    FROM slipway_events
    WHERE model_name = %(model)s
        AND environment = %(environment)s
        AND organisation IS NOT DISTINCT FROM %(organisation)s
        AND (kind = ANY(%(judged)s) OR (kind = 'failed' AND (detail ->> 'cluster_changed')::boolean))
    ORDER BY candidate_fingerprint, id DESC
)
SELECT
    e.id, e.occurred_at, e.kind, e.organisation, e.model_name AS model, e.environment, e.candidate_fingerprint AS fingerprint,
    e.run_id, e.actor, e.detail
FROM slipway_events AS e
JOIN verdicts AS v USING (candidate_fingerprint)
WHERE e.kind = 'ready'
    AND e.model_name = %(model)s
    AND e.environment = %(environment)s
    AND e.organisation IS NOT DISTINCT FROM %(organisation)s
    AND v.kind = ANY(%(good)s)
    -- NULL where nothing is current: then nothing is left out.
    AND e.candidate_fingerprint IS DISTINCT FROM %(current)s::text
ORDER BY e.id DESC
LIMIT 1;
