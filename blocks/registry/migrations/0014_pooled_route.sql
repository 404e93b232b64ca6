-- A route for connections without named statements, as behind a pooler: there, route() would be planned at each call, which takes ten times
-- as long as looking. This function's plan is kept by the server's session, whoever uses that.

DO $do$
BEGIN
    EXECUTE format(
        $format$
CREATE FUNCTION route_through_pooler(
    model text, hub_revision text DEFAULT NULL, environment text DEFAULT 'production', organisation text DEFAULT NULL
)
RETURNS TABLE (endpoint text, candidate text, status text, last_checked_at timestamptz, http_status integer, message text)
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN QUERY SELECT found.* FROM %1$I.route($1, $2, $3, $4) AS found;
END
$$
$format$,
        current_schema()
    );
    EXECUTE format('ALTER FUNCTION route_through_pooler SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$do$;

COMMENT ON FUNCTION route_through_pooler IS 'The same as route, for connections without named statements, as behind a pooler.';

REVOKE ALL ON FUNCTION route_through_pooler FROM PUBLIC;
GRANT EXECUTE ON FUNCTION route_through_pooler TO slipway_router, slipway_operator, slipway_admin;
