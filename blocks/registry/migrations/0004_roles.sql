-- Who may do what. A person's or a service's own role becomes a member of one of these; the role that migrates owns everything.
-- Roles belong to the whole server: another database's migration, or an administrator, may have made them already.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['slipway_router', 'slipway_operator', 'slipway_admin'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = wanted);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database's migrator was quicker
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the registry needs the role %, and % may not create roles', wanted, current_user
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                        HINT = 'Let an administrator run: CREATE ROLE slipway_router NOLOGIN; CREATE ROLE slipway_operator NOLOGIN; '
                            || 'CREATE ROLE slipway_admin NOLOGIN; then run slipway migrate again.';
        END;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO slipway_router, slipway_operator, slipway_admin', current_schema());
    -- Who does not own the schema gets a warning from that, and nothing is granted.
    IF NOT has_schema_privilege('slipway_router', current_schema(), 'USAGE') THEN
        RAISE EXCEPTION 'the roles of the registry may not use the schema %, and % may not let them', current_schema(), current_user
            USING ERRCODE = 'object_not_in_prerequisite_state',
                HINT = format(
                    'Let the owner of the schema run: GRANT USAGE ON SCHEMA %I TO slipway_router, slipway_operator, slipway_admin; '
                    'then run slipway migrate again.', current_schema()
                );
    END IF;
END
$$;

GRANT SELECT ON model_registry_entries, slipway_candidates, slipway_evidence, slipway_events TO slipway_operator, slipway_admin;

-- What is append-only may be added to. The present may be changed by who deploys, and only in our columns.
GRANT INSERT ON slipway_candidates TO slipway_operator, slipway_admin;
GRANT INSERT ON slipway_evidence, slipway_events TO slipway_admin;
GRANT SELECT, INSERT, UPDATE ON slipway_authenticators TO slipway_admin;
GRANT
    INSERT (
        model_name, hub_revision, organisation, deployment_environment, deployment_namespace, deployment_endpoint, deployment_status,
        deployment_status_reason, candidate_fingerprint, helm_revision, verified_at, last_health_check_at, created_at, updated_at
    ),
    UPDATE (
        deployment_namespace, deployment_endpoint, deployment_status, deployment_status_reason, candidate_fingerprint, helm_revision,
        verified_at, last_health_check_at, updated_at
    )
    ON model_registry_entries TO slipway_admin;
