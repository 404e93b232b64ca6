-- The process of the server that this statement met.
SELECT pg_backend_pid();
