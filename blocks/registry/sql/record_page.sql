-- Events before one of them, the latest first, with their places in their chains; a filter that is NULL does not filter.
SELECT
    id, occurred_at, kind, organisation, model_name AS model, environment, candidate_fingerprint AS fingerprint, run_id, actor, detail,
    chain, chain_position, hash
FROM slipway_events
WHERE (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
    AND (%(model)s::text IS NULL OR model_name = %(model)s)
    AND (%(environment)s::text IS NULL OR environment = %(environment)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(actor)s::text IS NULL OR actor = %(actor)s)
    AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
    AND (%(fingerprint)s::text IS NULL OR candidate_fingerprint = %(fingerprint)s)
ORDER BY id DESC
LIMIT %(limit)s;
