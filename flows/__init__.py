"""What happens: flows, their tasks, and the decisions between them. Nobody imports flows but the tests."""
