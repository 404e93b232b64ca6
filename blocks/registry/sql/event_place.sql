-- Where an event stands in its chain, and the first seal that stands for it: one of chain 0 stands for itself.
SELECT
    e.chain, e.chain_position AS position,
    CASE e.chain WHEN 0 THEN e.chain_position ELSE s.sealed_position END AS sealed_position,
    CASE e.chain WHEN 0 THEN e.hash ELSE s.sealed_hash END AS sealed_hash,
    CASE e.chain WHEN 0 THEN e.id ELSE s.id END AS seal_id,
    CASE e.chain WHEN 0 THEN e.chain_position ELSE s.seal_position END AS seal_position
FROM slipway_events AS e
LEFT JOIN LATERAL (
    SELECT
        seal.id, seal.chain_position AS seal_position, (named.part ->> 1)::bigint AS sealed_position, named.part ->> 2 AS sealed_hash
    FROM slipway_events AS seal, jsonb_array_elements(seal.detail -> 'chains') AS named (part)
    WHERE seal.chain = 0
        AND seal.kind = 'sealed'
        -- Ids are given before a transaction waits for its turn: a seal may stand for an event with a higher one.
        AND seal.id > e.id - 1000
        AND (named.part ->> 0)::bigint = e.chain
        AND (named.part ->> 1)::bigint >= e.chain_position
    ORDER BY seal.id
    LIMIT 1
) AS s ON true
WHERE e.id = %(event_id)s;
