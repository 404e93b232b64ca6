-- The locks that runs hold, and for how long.
SELECT
    organisation, model_name AS model, environment,
    extract(epoch FROM clock_timestamp() - acquired_at)::float8 AS held_seconds,
    extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS silent_seconds
FROM slipway_locks
WHERE holder IS NOT NULL
ORDER BY model_name, environment, organisation;
