"""What Prometheus reads of Slipway, and the dashboards that show it. Only reads, and takes no part in a release."""
