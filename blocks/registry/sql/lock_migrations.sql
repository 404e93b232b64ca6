-- One migrator at a time, until the end of its transaction. The number is the word "slipway" in ASCII.
SELECT pg_advisory_xact_lock(x'736c6970776179'::bigint);
