-- Start deploying a candidate, unless the row serves: what serves stays until its successor is verified.
UPDATE model_registry_entries
SET deployment_status = 'deploying',
    deployment_status_reason = NULL,
    deployment_namespace = %(namespace)s,
    deployment_endpoint = %(endpoint)s,
    candidate_fingerprint = %(fingerprint)s,
    helm_revision = NULL,
    deployment_git_commit = NULL,
    verified_at = NULL,
    updated_at = %(at)s
WHERE model_name = %(model)s
    AND hub_revision = %(hub_revision)s
    AND deployment_environment = %(environment)s
    AND organisation IS NOT DISTINCT FROM %(organisation)s
    AND (deployment_status IS NULL OR deployment_status NOT IN ('ready', 'degraded'))
    -- What a person took out says so until it is put back, or verified anew.
    AND disabled_from IS NULL
    -- Only where it changes something: updated_at says when the entry last did.
    AND (deployment_status, candidate_fingerprint) IS DISTINCT FROM ('deploying', %(fingerprint)s);
