-- Note where chains go on behind what lies in a file.
INSERT INTO slipway_archived (chain, first_position, last_position, previous_hash, hash, file_sha256)
SELECT part.chain, part.first, part.last, part.previous_hash, part.hash, %(sha256)s
FROM unnest(%(chains)s::bigint[], %(firsts)s::bigint[], %(lasts)s::bigint[], %(previous_hashes)s::text[], %(hashes)s::text[])
    AS part (chain, first, last, previous_hash, hash);
