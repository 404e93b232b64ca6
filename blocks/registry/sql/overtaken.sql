-- The latest event by which another candidate changed the endpoint after the given event.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE id > %(since_id)s
    AND model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND candidate_fingerprint <> %(fingerprint)s
    AND (kind = 'ready' OR (kind = 'failed' AND (detail ->> 'cluster_changed')::boolean))
ORDER BY id DESC
LIMIT 1;
