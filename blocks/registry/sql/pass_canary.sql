-- Another candidate than the one beside which it was begun is ready: nothing goes to the canary's endpoint any longer.
UPDATE slipway_canaries
SET weight = 0, shadow = 0, since = %(at)s
WHERE model_name = %(model)s AND environment = %(environment)s AND coalesce(organisation, '') = coalesce(%(organisation)s::text, '')
    AND weight + shadow > 0
    AND stable_fingerprint <> %(fingerprint)s
RETURNING canary_fingerprint AS fingerprint;
