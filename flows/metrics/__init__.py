"""What Prometheus reads of Slipway, and the dashboards that show it."""
