-- The canary of a model in an environment, or the last one that there was.
SELECT
    organisation, model_name AS model, environment, run_id, stable_fingerprint AS stable, canary_fingerprint AS canary,
    canary_endpoint AS endpoint, weight, shadow, phase, step, steps, began_at, since, until, judge, judged_at,
    wish, wish_actor, wish_reason, wished_at, outcome, outcome_reason
FROM slipway_canaries
WHERE model_name = %(model)s AND environment = %(environment)s AND coalesce(organisation, '') = coalesce(%(organisation)s::text, '');
