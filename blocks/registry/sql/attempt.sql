-- How far a run has come with a candidate in an environment: its latest own step there.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE run_id = %(run_id)s
    AND candidate_fingerprint = %(fingerprint)s
    AND model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND kind = ANY(%(steps)s)
ORDER BY id DESC
LIMIT 1;
