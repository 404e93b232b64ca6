-- Events, newest first; a filter that is NULL does not filter.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail
FROM slipway_events
WHERE (%(model)s::text IS NULL OR model_name = %(model)s)
    AND (%(environment)s::text IS NULL OR environment = %(environment)s)
    AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
ORDER BY id DESC
LIMIT %(limit)s;
