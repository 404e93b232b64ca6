-- All statements of the transaction see the database as it is at the first one.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
