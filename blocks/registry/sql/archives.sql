-- How many events lie in each file, and how many the record says do.
SELECT a.file_sha256 AS sha256, a.events, coalesce(told.events, 0) AS told
FROM (
    SELECT file_sha256, sum(last_position - first_position + 1)::bigint AS events
    FROM slipway_archived
    GROUP BY file_sha256
) AS a
LEFT JOIN LATERAL (
    SELECT max((e.detail ->> 'events')::bigint) AS events
    FROM slipway_events AS e
    -- By their index: they are of no model.
    WHERE e.model_name IS NULL AND e.environment IS NULL AND e.kind = 'archived'
        AND e.detail ->> 'sha256' = a.file_sha256 AND e.detail ->> 'events' ~ '^[0-9]{1,18}$'
) AS told ON true
ORDER BY a.file_sha256;
