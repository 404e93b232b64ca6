-- What runs began and recorded no end of, what failed after it was deployed and was not put right, and what a clean-up began and did not
-- finish; of the latest beginnings, and of those of the candidates that do not serve as they should, however long ago. Oldest first.
-- `detail.failed` tells the second kind.
SELECT
    d.id, d.occurred_at, d.kind, d.organisation, d.model_name AS model, d.environment, d.candidate_fingerprint AS fingerprint,
    d.run_id, d.actor, d.detail || jsonb_build_object('failed', coalesce(later.failed, false)) AS detail
FROM slipway_events AS d
LEFT JOIN LATERAL (
    SELECT
        bool_or(e.kind = ANY(%(steps)s)) AS went_on,
        bool_or(e.kind = 'failed' AND e.candidate_fingerprint = d.candidate_fingerprint AND (e.detail ->> 'deployed') = 'true') AS failed,
        bool_or(e.kind IN ('deploying', 'ready') OR e.kind = ANY(%(settling)s)) AS settled,
        -- A run may begin there more than once; a clean-up is of one beginning.
        bool_or(e.kind = 'cleaning_up' AND e.detail ->> 'begun' = d.id::text) AS cleaning_up,
        bool_or(e.kind = 'cleaned_up' AND e.detail ->> 'begun' = d.id::text) AS cleaned_up
    FROM slipway_events AS e
    WHERE e.run_id = d.run_id
        AND e.id > d.id
        AND e.model_name = d.model_name
        AND e.environment = d.environment
        AND e.organisation IS NOT DISTINCT FROM d.organisation
) AS later ON true
WHERE d.id IN (
        -- The kind as a literal: the index of migration 0009 holds these events alone, in this order.
        (SELECT id FROM slipway_events WHERE kind = 'deploying' AND run_id IS NOT NULL ORDER BY id DESC LIMIT %(limit)s)
        UNION
        SELECT b.id
        FROM model_registry_entries AS r
        JOIN slipway_events AS b
            ON b.candidate_fingerprint = r.candidate_fingerprint
            AND b.model_name = r.model_name
            AND b.environment = r.deployment_environment
            AND b.organisation IS NOT DISTINCT FROM r.organisation
            AND b.kind = 'deploying'
            AND b.run_id IS NOT NULL
        WHERE r.deployment_status IN ('deploying', 'failed', 'degraded')
    )
    AND NOT coalesce(later.cleaned_up, false)
    AND (
        coalesce(later.cleaning_up, false)
        OR NOT coalesce(later.went_on, false)
        OR (coalesce(later.failed, false) AND NOT coalesce(later.settled, false))
    )
ORDER BY d.id;
