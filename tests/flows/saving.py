"""Saves blocks in Prefect as `block.save(name)` does; each kind is registered once in a process, which is most of what saving costs."""

from __future__ import annotations

import functools
from contextlib import suppress
from uuid import UUID

from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate
from prefect.exceptions import ObjectAlreadyExists


def save_blocks(client: SyncPrefectClient, name: str, *blocks: Block) -> None:
    """Save the blocks under a name that none of their kind has."""
    for block in blocks:
        type_id, schema_id = _registered(type(block))
        dumped = block.model_dump(mode="json", context={"include_secrets": True})
        data = {field: dumped[field] for field in type(block).model_fields}
        made = BlockDocumentCreate(name=name, data=data, block_type_id=type_id, block_schema_id=schema_id)
        # The name is new: if there is one, the client had no answer to its first request, and asked again.
        with suppress(ObjectAlreadyExists):
            client.create_block_document(made)


@functools.cache
def _registered(kind: type[Block]) -> tuple[UUID, UUID]:
    """The server's ids of the kind and of its schema."""
    kind.register_type_and_schema()
    assert kind._block_type_id is not None
    assert kind._block_schema_id is not None
    return kind._block_type_id, kind._block_schema_id
