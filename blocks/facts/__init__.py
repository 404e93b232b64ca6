"""What the systems were seen to say: plain frozen data that clients return and decisions are made of. No I/O here."""

from blocks.facts.cluster import ClusterEvent, Container, ContainerExit, GpuQuota, JobState, Node, Pod, Rollout, Taint, Trouble
from blocks.facts.endpoint import Answer, EngineMetrics, Load, Position, Sample, ServedModel, ToolCall
from blocks.facts.helm import HelmRevision
from blocks.facts.hub import HubCommit, HubFile

__all__ = [
    "Answer",
    "ClusterEvent",
    "Container",
    "ContainerExit",
    "EngineMetrics",
    "GpuQuota",
    "HelmRevision",
    "HubCommit",
    "HubFile",
    "JobState",
    "Load",
    "Node",
    "Pod",
    "Position",
    "Rollout",
    "Sample",
    "ServedModel",
    "Taint",
    "ToolCall",
    "Trouble",
]
