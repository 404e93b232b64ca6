-- Give the lock back.
UPDATE slipway_locks
SET holder = NULL
WHERE model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    -- And the number: what another process of the run has taken since is its own.
    AND holder = %(run_id)s
    AND fence = %(fence)s;
