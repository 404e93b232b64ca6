"""Pure decisions: specs and facts in, a plan or a verdict out. No Prefect, no network, no SQL."""
