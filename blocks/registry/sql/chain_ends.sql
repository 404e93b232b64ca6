-- Where each chain ends, as its writers noted it.
SELECT chain, place, position, hash FROM slipway_chains ORDER BY chain;
