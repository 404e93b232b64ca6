-- A canary begins, in the place of one that has ended.
INSERT INTO slipway_canaries AS last (
    organisation, model_name, environment, run_id, stable_fingerprint, canary_fingerprint, canary_endpoint, steps, began_at, since
)
VALUES (
    %(organisation)s, %(model)s, %(environment)s, %(run_id)s, %(stable)s, %(canary)s, %(endpoint)s, %(steps)s, %(at)s, %(at)s
)
ON CONFLICT (model_name, environment, (coalesce(organisation, ''))) DO UPDATE
SET run_id = excluded.run_id,
    stable_fingerprint = excluded.stable_fingerprint,
    canary_fingerprint = excluded.canary_fingerprint,
    canary_endpoint = excluded.canary_endpoint,
    weight = 0,
    shadow = 0,
    phase = 'coming',
    step = 0,
    steps = excluded.steps,
    began_at = excluded.began_at,
    since = excluded.since,
    until = NULL,
    judge = '{}',
    judged_at = NULL,
    wish = NULL,
    wish_actor = NULL,
    wish_reason = NULL,
    wished_at = NULL,
    outcome = NULL,
    outcome_reason = NULL
WHERE last.phase = 'ended';
