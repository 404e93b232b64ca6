-- What happened at one gate of a run, oldest first.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE run_id = %(run_id)s
    AND detail ->> 'gate' = %(gate)s
ORDER BY id;
