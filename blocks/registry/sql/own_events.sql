-- Events of some kinds of one run with a candidate in an environment, oldest first.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE run_id = %(run_id)s
    AND candidate_fingerprint = %(fingerprint)s
    AND model_name = %(model)s
    AND environment = %(environment)s
    AND kind = ANY(%(kinds)s)
ORDER BY id;
