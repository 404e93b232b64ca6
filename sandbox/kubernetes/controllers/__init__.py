"""The controllers and the scheduler of the stand-in cluster. They use nothing but the API, so they could drive any API server.

Not emulated: StatefulSets, DaemonSets, CronJobs, HorizontalPodAutoscalers, volumes and cloud controllers.
"""

from sandbox.kubernetes.controllers.manager import ControllerManager

__all__ = ["ControllerManager"]
