-- One writer at a time for a model in an environment, until the end of the transaction; returns the time after the wait.
-- Materialized, so that the clock is read after the wait.
WITH held AS MATERIALIZED (
    -- There may be no row yet that could be locked. The key is also that of slipway_disable and slipway_enable (migration 0005).
    SELECT pg_advisory_xact_lock(hashtextextended(
        jsonb_build_array('slipway', %(organisation)s::text, %(model)s::text, %(environment)s::text)::text, 0
    ))
)
SELECT coalesce(%(at)s::timestamptz, clock_timestamp()) AS at FROM held;
