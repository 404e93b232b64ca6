-- How many events no seal stands for yet, and since when. By what the seals say, which are part of the chain.
WITH sealed AS MATERIALIZED (
    SELECT (part ->> 0)::bigint AS chain, max((part ->> 1)::bigint) AS position
    FROM slipway_events AS s, jsonb_array_elements(s.detail -> 'chains') AS named (part)
    WHERE s.chain = 0 AND s.kind = 'sealed'
    GROUP BY 1
)
SELECT coalesce(sum(c.position - coalesce(s.position, 0)), 0)::bigint AS events, min(e.occurred_at) AS since
FROM slipway_chains AS c
LEFT JOIN sealed AS s ON s.chain = c.chain
LEFT JOIN slipway_events AS e ON e.chain = c.chain AND e.chain_position = coalesce(s.position, 0) + 1
WHERE c.chain <> 0 AND c.position > coalesce(s.position, 0);
