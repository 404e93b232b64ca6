-- The first seal that does not name ends of chains as seals do: [chain, position, hash] each.
SELECT s.chain_position AS position, s.hash
FROM slipway_events AS s
WHERE s.chain = 0 AND s.kind = 'sealed' AND EXISTS (
    SELECT
    FROM jsonb_array_elements(CASE jsonb_typeof(s.detail -> 'chains') WHEN 'array' THEN s.detail -> 'chains' ELSE '[null]' END) AS named (part)
    WHERE (
        (part ->> 0) ~ '^[0-9]{1,18}$' AND (part ->> 1) ~ '^[0-9]{1,18}$' AND jsonb_typeof(part -> 2) = 'string'
    ) IS NOT TRUE
)
ORDER BY s.chain_position
LIMIT 1;
