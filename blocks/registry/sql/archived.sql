-- The parts of chains that lie in files.
SELECT chain, first_position AS first, last_position AS last, previous_hash, hash FROM slipway_archived ORDER BY chain, first_position;
