-- The last health checks of an entry, so that a monitor needs no memory of its own.
ALTER TABLE model_registry_entries
    ADD COLUMN health_window text,
    ADD CONSTRAINT slipway_entry_health_window CHECK (health_window ~ '^[+-]{0,5}$');

COMMENT ON COLUMN model_registry_entries.health_window IS 'The last five health checks of what serves, the latest at the end: + good, - bad.';
COMMENT ON CONSTRAINT slipway_entry_health_window ON model_registry_entries IS 'Five checks are remembered.';

GRANT INSERT (health_window), UPDATE (health_window) ON model_registry_entries TO slipway_admin;
