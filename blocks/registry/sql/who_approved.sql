-- Who let a run take a candidate into an environment: of the gate that was granted last, the last approval of each who was counted, by name.
WITH granted AS (
    SELECT run_id, detail ->> 'gate' AS gate, detail -> 'approvers' AS approvers
    FROM slipway_events
    WHERE run_id = %(run_id)s
        AND candidate_fingerprint = %(fingerprint)s
        AND model_name = %(model)s
        AND environment = %(environment)s
        AND kind = 'approval_granted'
    ORDER BY id DESC
    LIMIT 1
)
SELECT DISTINCT ON (e.actor)
    e.id, e.occurred_at, e.kind, e.organisation, e.model_name AS model, e.environment, e.candidate_fingerprint AS fingerprint,
    e.run_id, e.actor, e.detail
FROM granted AS g
JOIN slipway_events AS e USING (run_id)
WHERE e.kind = 'approved' AND e.detail ->> 'gate' = g.gate AND g.approvers ? e.actor
ORDER BY e.actor, e.id DESC;
