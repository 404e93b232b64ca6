"""The console: what Slipway knows as an API and as pages, and what people may have it do, by who they are.

`app` puts it together; `edge` is what every request passes, `access` says who asks and what they may, `reads` what there is to see,
`actions` what starts and resumes flow runs, `api` and `pages` are two ways to both. It decides nothing about releases and touches no
cluster: that is done by the flow runs that it starts, and what counts is the registry's record. It keeps nothing of its own, so any number
of replicas do.
"""
