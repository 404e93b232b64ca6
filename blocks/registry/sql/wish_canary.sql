-- Ask the run of a canary to do something; the function holds the rules.
SELECT slipway_wish(%(model)s, %(environment)s, %(wish)s, %(reason)s, %(actor)s, %(organisation)s) AS asked;
