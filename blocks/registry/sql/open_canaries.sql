-- The canaries that have not ended.
SELECT
    organisation, model_name AS model, environment, run_id, stable_fingerprint AS stable, canary_fingerprint AS canary,
    canary_endpoint AS endpoint, weight, shadow, phase, step, steps, began_at, since, until, judge, judged_at,
    wish, wish_actor, wish_reason, wished_at, outcome, outcome_reason
FROM slipway_canaries
WHERE phase <> 'ended'
ORDER BY model_name, environment, organisation;
