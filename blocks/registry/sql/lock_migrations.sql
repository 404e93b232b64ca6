-- One migrator at a time, until the end of its transaction. A table's lock and no advisory one, which any role could hold: for this one
-- takes a right to change the table. Whoever reads it does not wait.
LOCK TABLE slipway_migrations IN EXCLUSIVE MODE;
