-- The events of a chain between two places, with what their hashes are made of.
SELECT
    chain, previous_hash, chain_position, id, event_key, occurred_at, kind, organisation, model_name AS model, environment,
    candidate_fingerprint AS fingerprint, run_id, actor, detail::text AS detail, hash
FROM slipway_events
WHERE chain = %(chain)s AND chain_position BETWEEN %(first)s AND %(last)s
ORDER BY chain_position;
