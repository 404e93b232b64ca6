-- Take a model out of an environment; the function holds the rules.
SELECT slipway_disable(%(model)s, %(environment)s, %(reason)s, %(actor)s, %(organisation)s);
