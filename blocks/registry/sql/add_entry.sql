-- Make the entry of a candidate in an environment; one that is there already stays as it is.
INSERT INTO model_registry_entries (
    organisation, model_name, hub_revision, deployment_environment, deployment_namespace, deployment_endpoint,
    deployment_status, candidate_fingerprint, created_at, updated_at
)
VALUES (
    %(organisation)s, %(model)s, %(hub_revision)s, %(environment)s, %(namespace)s, %(endpoint)s,
    'pending', %(fingerprint)s, %(at)s, %(at)s
)
-- With the predicate of the index (slipway_entry_once): rows that were there before Slipway may lack an environment or a commit.
ON CONFLICT (organisation, model_name, hub_revision, deployment_environment)
WHERE deployment_environment IS NOT NULL AND hub_revision IS NOT NULL
DO NOTHING;
