-- The first seal that names an end which its chain did not have.
SELECT s.chain_position AS seal, sealed.chain, sealed.position
FROM slipway_events AS s
CROSS JOIN LATERAL (
    SELECT (part ->> 0)::bigint AS chain, (part ->> 1)::bigint AS position, part ->> 2 AS hash
    FROM jsonb_array_elements(s.detail -> 'chains') AS named (part)
) AS sealed
LEFT JOIN slipway_events AS e ON e.chain = sealed.chain AND e.chain_position = sealed.position
WHERE s.chain = 0 AND s.kind = 'sealed' AND e.hash IS DISTINCT FROM sealed.hash
    -- What lies in a file is in the chain between its two ends.
    AND NOT (
        e.hash IS NULL
        AND EXISTS (
            SELECT FROM slipway_archived AS a
            WHERE a.chain = sealed.chain AND sealed.position BETWEEN a.first_position AND a.last_position
                AND (sealed.position < a.last_position OR sealed.hash = a.hash)
        )
    )
ORDER BY s.chain_position, sealed.chain
LIMIT 1;
