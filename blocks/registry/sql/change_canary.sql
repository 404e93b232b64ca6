-- What the run makes of its canary.
UPDATE slipway_canaries
SET weight = %(weight)s,
    shadow = %(shadow)s,
    phase = %(phase)s,
    step = %(step)s,
    since = %(since)s,
    until = %(until)s,
    wish = %(wish)s,
    wish_actor = %(wish_actor)s,
    wish_reason = %(wish_reason)s,
    wished_at = %(wished_at)s,
    outcome = %(outcome)s,
    outcome_reason = %(outcome_reason)s
WHERE model_name = %(model)s AND environment = %(environment)s AND coalesce(organisation, '') = coalesce(%(organisation)s::text, '');
