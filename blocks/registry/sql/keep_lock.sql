-- A sign of life of the lock's holder.
UPDATE slipway_locks
SET heartbeat_at = clock_timestamp()
WHERE model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND holder = %(run_id)s
    AND fence = %(fence)s;
