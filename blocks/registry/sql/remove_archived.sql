-- Take out what lies in a file.
DELETE FROM slipway_events AS e
USING unnest(%(chains)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[]) AS part (chain, first, last)
WHERE e.chain = part.chain AND e.chain_position BETWEEN part.first AND part.last;
