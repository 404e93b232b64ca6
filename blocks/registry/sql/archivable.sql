-- What repeats and is sealed, but for the latest of its kind of each candidate, or each node, at each place: all that is asked of such events
-- is the latest, and of verdicts the latest with evidence. With what their hashes are made of.
SELECT
    e.chain, e.previous_hash, e.chain_position, e.id, e.event_key, e.occurred_at, e.kind, e.organisation, e.model_name AS model, e.environment,
    e.candidate_fingerprint AS fingerprint, e.run_id, e.actor, e.detail::text AS detail, e.hash
FROM (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY chain, candidate_fingerprint, kind, detail ->> 'node', (detail ->> 'evidence_sha256') IS NULL
            ORDER BY chain_position DESC
        ) AS latest
    FROM slipway_events
    -- Seals stay, and what is older than the chains.
    WHERE kind = ANY(%(repeated)s) AND chain <> 0
) AS e
JOIN slipway_sealed AS s ON s.chain = e.chain AND s.position >= e.chain_position
WHERE e.latest > 1 AND e.occurred_at < %(before)s
ORDER BY e.chain, e.chain_position;
