-- Candidates that may serve again at once: those of entries that serve, are about to, or were taken out by a person; and of each model in
-- each environment the two that were verified last among those whose last own verdict was good. The previous one is among these, whether
-- or not the current one is (`previous.sql` says what a verdict is).
WITH verdicts AS (
    SELECT
        organisation, model_name, environment, candidate_fingerprint AS fingerprint,
        max(id) FILTER (WHERE kind = 'ready') AS verified,
        (array_agg(kind ORDER BY id DESC))[1] AS verdict
    FROM slipway_events
    WHERE kind = ANY(%(judged)s) OR (kind = 'failed' AND (detail ->> 'cluster_changed')::boolean)
    GROUP BY organisation, model_name, environment, candidate_fingerprint
),
ways_back AS (
    SELECT fingerprint, row_number() OVER (PARTITION BY organisation, model_name, environment ORDER BY verified DESC) AS place
    FROM verdicts
    WHERE verified IS NOT NULL AND verdict = ANY(%(good)s)
)
SELECT c.document, c.model_name AS model, c.hub_revision
FROM slipway_candidates AS c
WHERE c.fingerprint IN (
    -- Two, as the first may be the one that serves.
    SELECT fingerprint FROM ways_back WHERE place <= 2
    UNION
    SELECT candidate_fingerprint FROM model_registry_entries WHERE deployment_status = ANY(%(statuses)s) OR disabled_from IS NOT NULL
)
ORDER BY c.fingerprint;
