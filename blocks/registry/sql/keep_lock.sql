-- A sign of life of the lock's holder.
UPDATE slipway_locks
SET heartbeat_at = clock_timestamp()
WHERE model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    -- And the number: an earlier process of the run must not keep the later one's lock alive.
    AND holder = %(run_id)s
    AND fence = %(fence)s;
