-- An event by its place in a chain, with what its hash is made of.
SELECT
    chain, previous_hash, chain_position, id, event_key, occurred_at, kind, organisation, model_name AS model, environment,
    candidate_fingerprint AS fingerprint, run_id, actor, detail::text AS detail, hash
FROM slipway_events
WHERE chain = %(chain)s AND chain_position = %(position)s;
