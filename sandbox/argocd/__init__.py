"""A stand-in for Argo CD's application controller, as far as `sandbox/README.md` says."""
