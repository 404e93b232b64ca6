-- Put a model back into an environment; the function holds the rules.
SELECT slipway_enable(%(model)s, %(environment)s, %(reason)s, %(actor)s, %(organisation)s) AS moved;
