-- What runs began and recorded no end of, and what a clean-up began and did not finish; of the latest beginnings, oldest first.
SELECT
    d.id, d.occurred_at, d.kind, d.organisation, d.model_name AS model, d.environment, d.candidate_fingerprint AS fingerprint,
    d.run_id, d.actor, d.detail
FROM (SELECT * FROM slipway_events WHERE kind = 'deploying' AND run_id IS NOT NULL ORDER BY id DESC LIMIT %(limit)s) AS d
LEFT JOIN LATERAL (
    SELECT
        bool_or(e.kind IN ('deploying', 'ready', 'failed')) AS went_on,
        bool_or(e.kind = 'cleaning_up' AND e.detail ->> 'begun' = d.id::text) AS cleaning_up,
        bool_or(e.kind = 'cleaned_up' AND e.detail ->> 'begun' = d.id::text) AS cleaned_up
    FROM slipway_events AS e
    WHERE e.run_id = d.run_id
        AND e.id > d.id
        AND e.model_name = d.model_name
        AND e.environment = d.environment
        AND e.organisation IS NOT DISTINCT FROM d.organisation
) AS later ON true
WHERE NOT coalesce(later.cleaned_up, false)
    AND (coalesce(later.cleaning_up, false) OR NOT coalesce(later.went_on, false))
ORDER BY d.id;
