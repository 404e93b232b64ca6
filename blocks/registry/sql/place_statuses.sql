-- The status of each model in each environment: of the entry that counts there.
SELECT DISTINCT ON (model, environment, organisation)
    organisation, model, environment, status, last_checked_at::timestamptz AS last_checked_at
FROM slipway_routes
-- As route() does (migration 0006).
ORDER BY model, environment, organisation, preference, verified_at DESC NULLS LAST, updated_at DESC NULLS LAST;
