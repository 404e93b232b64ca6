-- One writer at a time for a model in an environment, until the end of the transaction; returns the time after the wait.
-- Materialized, so that the clock is read after the wait.
WITH turn AS MATERIALIZED (
    -- The row of the place's chain, which slipway_disable and slipway_enable wait for as well (migration 0011).
    SELECT slipway_turn(%(organisation)s, %(model)s, %(environment)s)
)
SELECT coalesce(%(at)s::timestamptz, clock_timestamp()) AS at FROM turn;
