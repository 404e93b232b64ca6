-- Requests for approval that nothing has closed, oldest first, with the end of the freeze that they last met.
SELECT
    r.id, r.occurred_at, r.kind, r.organisation, r.model_name AS model, r.environment, r.candidate_fingerprint AS fingerprint,
    r.run_id, r.actor, r.detail, f.frozen_until
FROM slipway_events AS r
LEFT JOIN LATERAL (
    SELECT max((e.detail ->> 'until')::timestamptz) AS frozen_until
    FROM slipway_events AS e
    WHERE e.run_id = r.run_id AND e.kind = 'approval_frozen' AND e.detail ->> 'gate' = r.detail ->> 'gate'
) AS f ON true
WHERE r.kind = 'approval_requested'
    AND NOT EXISTS (
        SELECT FROM slipway_events AS e
        WHERE e.run_id = r.run_id
            AND e.kind = ANY(%(closing)s)
            AND e.detail ->> 'gate' = r.detail ->> 'gate'
    )
ORDER BY r.id;
