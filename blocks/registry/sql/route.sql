-- What a router asks: where the model is served, the latest verified first.
SELECT deployment_endpoint AS endpoint
FROM model_registry_entries
WHERE deployment_status = 'ready' AND model_name = %(model)s AND deployment_environment = %(environment)s
ORDER BY verified_at DESC NULLS LAST
LIMIT 1;
