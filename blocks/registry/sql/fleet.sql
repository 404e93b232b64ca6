-- Each model in each environment: the entry that counts there, the last verification that its candidate passed, which run holds the lock, and
-- the canary that has not ended.
SELECT
    p.organisation, p.model, p.environment, p.hub_revision, p.namespace, p.endpoint, p.status, p.status_reason, p.disabled_from, p.fingerprint,
    p.helm_revision, p.git_commit, p.verified_at::timestamptz AS verified_at, p.last_checked_at::timestamptz AS last_checked_at,
    coalesce(p.health_window, '') AS health_window, p.updated_at::timestamptz AS updated_at, v.occurred_at AS passed_at, v.evidence_sha256,
    l.holder AS held_by, c.canary_fingerprint AS canary, c.phase AS canary_phase, c.weight AS canary_weight, c.shadow AS canary_shadow
FROM (
    -- In the order in which entries count (the index slipway_entry_places).
    SELECT DISTINCT ON (model_name, deployment_environment, coalesce(organisation, ''))
        organisation, model_name AS model, deployment_environment AS environment, hub_revision, deployment_namespace AS namespace,
        CASE deployment_status WHEN 'ready' THEN deployment_endpoint END AS endpoint, deployment_status AS status,
        deployment_status_reason AS status_reason, disabled_from, candidate_fingerprint AS fingerprint, helm_revision,
        deployment_git_commit AS git_commit, verified_at, last_health_check_at AS last_checked_at, health_window, updated_at
    FROM model_registry_entries
    WHERE deployment_environment IS NOT NULL AND hub_revision IS NOT NULL AND deployment_status IS NOT NULL
        AND (%(model)s::text IS NULL OR model_name = %(model)s)
    ORDER BY
        model_name, deployment_environment, coalesce(organisation, ''),
        (CASE WHEN deployment_status = 'ready' THEN 0 WHEN disabled_from IS NOT NULL THEN 1 ELSE 2 END),
        verified_at DESC NULLS LAST, updated_at DESC NULLS LAST
) AS p
LEFT JOIN LATERAL (
    SELECT e.occurred_at, e.detail ->> 'evidence_sha256' AS evidence_sha256
    FROM slipway_events AS e
    WHERE e.candidate_fingerprint = p.fingerprint
        AND e.model_name = p.model
        AND e.environment = p.environment
        AND e.organisation IS NOT DISTINCT FROM p.organisation
        AND e.kind = ANY(%(passed)s)
        AND e.detail ->> 'evidence_sha256' IS NOT NULL
    ORDER BY e.id DESC
    LIMIT 1
) AS v ON true
LEFT JOIN slipway_locks AS l
    ON l.model_name = p.model AND l.environment = p.environment AND l.organisation IS NOT DISTINCT FROM p.organisation
LEFT JOIN slipway_canaries AS c
    ON c.model_name = p.model AND c.environment = p.environment AND coalesce(c.organisation, '') = coalesce(p.organisation, '')
    AND c.phase <> 'ended'
ORDER BY p.model, p.environment, p.organisation;
