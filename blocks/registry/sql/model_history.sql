-- What happened to a model, the latest first: events of some kinds.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE model_name = %(model)s AND kind = ANY(%(kinds)s)
ORDER BY id DESC
LIMIT %(limit)s;
