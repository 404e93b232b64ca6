"""What people and machines have Slipway do: each starts or resumes the flow runs that the command line and Prefect's UI do.

The API and the pages share it. Who may is asked here, once for both. Nothing is done here that a flow does: it is asked for, and the answer
is the run.
"""
