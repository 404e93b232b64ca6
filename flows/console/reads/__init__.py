"""What there is to see: read models that the API and the pages share. They change nothing.

What a caller may see is asked of a function. Each read is a fixed number of statements and requests, however many models there are. What
cannot be had says so (`Unknown`), within seconds: a page never waits for a cluster. The words of it are the registry's and Prefect's own;
what others wrote is escaped where it is shown.
"""
