-- The parts of a chain between two places that lie in files.
SELECT chain, first_position AS first, last_position AS last, previous_hash, hash
FROM slipway_archived
WHERE chain = %(chain)s AND first_position <= %(last)s AND last_position >= %(first)s
ORDER BY first_position;
