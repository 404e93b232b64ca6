-- All events, chain by chain, with what their hashes are made of.
SELECT
    chain, previous_hash, chain_position, id, event_key, occurred_at, kind, organisation, model_name AS model, environment,
    candidate_fingerprint AS fingerprint, run_id, actor, detail::text AS detail, hash
FROM slipway_events
ORDER BY chain, chain_position;
