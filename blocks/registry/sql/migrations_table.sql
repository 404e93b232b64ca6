-- Whether the record of migrations is there, and whether it may be read.
-- to_regclass gives NULL for a table that is not there, where a cast would be an error.
SELECT found IS NOT NULL, coalesce(has_table_privilege(found, 'SELECT'), false) FROM to_regclass('slipway_migrations') AS found;
