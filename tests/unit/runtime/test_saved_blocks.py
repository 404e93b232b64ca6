"""Saved blocks without Prefect: their types' names, their settings, and which one the registry's is."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.cluster import Cluster, ClusterSettings
from blocks.helm import Helm
from blocks.registry import Registry
from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PrefectApi
from flows.runtime.prefect_settings import PrefectSettings
from flows.runtime.saved_blocks import SHOWN, block_settings, registry_name


class Saved(PrefectApi):
    """An API that has one block."""

    def __init__(self, fields: dict[str, object]) -> None:
        super().__init__(PrefectSettings(api_url="http://nowhere/api"))
        self._fields = fields

    def block(self, slug: str, name: str, *, secrets: bool = True) -> dict[str, object]:
        return self._fields


def test_the_types_are_called_as_their_blocks_are() -> None:
    assert {block.get_block_type_slug(): block.get_block_type_name() for block in (Registry, Cluster, Helm)} == SHOWN


def test_settings_are_the_fields_with_the_blocks_own_defaults() -> None:
    found = block_settings(Saved({"kubeconfig": "/kube/config"}), ClusterSettings, "slipway-cluster", "default")

    assert found.model_dump() == Cluster(kubeconfig=Path("/kube/config")).model_dump(include=set(ClusterSettings.model_fields))


def test_wrong_fields_are_named_and_not_shown() -> None:
    with pytest.raises(SpecInvalid) as refused:
        block_settings(Saved({"timeout_seconds": "hunter2"}), ClusterSettings, "slipway-cluster", "default")

    assert refused.value.message == (
        "The block slipway-cluster/default cannot be used: timeout_seconds must be set anew in the UI under Blocks."
    )


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (None, "default"),
        ("registry: main\nhub: default\n", "main"),
        ("registry: main\nhub: default\nhealth_cache: redis\n", "main"),
        ("registry: main\nhealth_cache: null\n", "main"),
        ("hub: other\n", "default"),
    ],
)
def test_the_registrys_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, name: str) -> None:
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS", str(tmp_path))
    if content is not None:
        (tmp_path / "shared.yaml").write_text(content)

    assert registry_name() == name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("registry: Main\n", "registry: must be a DNS label"),
        ("registry: 7\n", "registry: "),
        ("registry: main\nhubb: default\n", "hubb: is not a known key."),
        ("registry: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, said: str) -> None:
    monkeypatch.setenv("SLIPWAY_DEPLOYMENTS", str(tmp_path))
    (tmp_path / "shared.yaml").write_text(content)

    with pytest.raises(SpecInvalid, match=r"shared\.yaml") as refused:
        registry_name()

    assert said in refused.value.message
