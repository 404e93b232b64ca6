"""The node agents of one cluster by their names."""

from __future__ import annotations

from sandbox.kubernetes.node.agent import NodeAgent


class WithNodes:
    """A cluster with nodes that this process runs."""

    _agents: dict[str, NodeAgent]

    @property
    def nodes(self) -> tuple[NodeAgent, ...]:
        """The agents of its nodes that this process runs, in the order in which they were given."""
        return tuple(self._agents.values())

    def node(self, name: str) -> NodeAgent:
        """The agent of such a node.

        Raises:
            KeyError: There is none of that name.
        """
        return self._agents[name]
