-- Events of some runs, oldest first; kinds that are NULL do not filter.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE run_id = ANY(%(run_ids)s) AND (%(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s))
ORDER BY id;
