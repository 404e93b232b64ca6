-- For each of some runs the latest one of others that has begun with its model since the run's own last deed (or its beginning).
SELECT DISTINCT ON (dead.run_id) dead.run_id, e.run_id AS by_run
FROM unnest(%(run_ids)s::text[], %(models)s::text[], %(began)s::timestamptz[]) AS dead (run_id, model, began)
JOIN slipway_events AS e
    ON e.model_name = dead.model
    AND e.kind = 'deploying'
    AND e.run_id <> dead.run_id
    AND e.occurred_at > coalesce(
        (
            SELECT max(own.occurred_at)
            FROM slipway_events AS own
            WHERE own.run_id = dead.run_id AND own.kind <> ALL(%(about_runs)s)
        ),
        dead.began
    )
ORDER BY dead.run_id, e.id DESC;
