-- Give back what an earlier process of the run held.
UPDATE slipway_locks
SET holder = NULL
WHERE model_name = %(model)s
    AND environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    -- Without the number, which only the process that is lost knew.
    AND holder = %(run_id)s;
