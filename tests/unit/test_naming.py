"""Names are DNS-safe, short enough, and never the same for two models."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows import naming
from flows.errors import SpecInvalid

LABEL = re.compile(r"^[a-z]([-a-z0-9]*[a-z0-9])?$")

#: Model names as a spec allows them, rich in near collisions.
model_names = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?\Z")


def test_a_plain_name_stays_readable() -> None:
    assert naming.release_name("tiny-llama", "production") == "tiny-llama-production"
    assert naming.endpoint("tiny-llama", "production", "llm") == "tiny-llama-production.llm.svc.cluster.local:8000"


@given(name=model_names, environment=st.sampled_from(["dev", "production", "a" * 20]))
def test_every_name_is_a_dns_label_within_helms_limit(name: str, environment: str) -> None:
    made = naming.release_name(name, environment)

    assert LABEL.match(made)
    assert len(made) <= 53
    assert made.endswith(f"-{environment}")


@given(first=model_names, second=model_names)
def test_two_models_never_share_a_name(first: str, second: str) -> None:
    assert (naming.release_name(first, "staging") == naming.release_name(second, "staging")) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Llama", "llama"),
        ("llama.3", "llama-3"),
        ("a" * 80, "a" * 81),
        ("3b", "m-3b"),
        ("Llama", naming.release_name("Llama", "dev").removesuffix("-dev")),
    ],
)
def test_names_that_look_alike_are_told_apart(first: str, second: str) -> None:
    assert naming.release_name(first, "dev") != naming.release_name(second, "dev")


def test_a_name_without_any_usable_sign_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="no letter or digit"):
        naming.release_name("___", "dev")


def test_a_run_asks_for_the_same_job_again_and_another_run_for_another() -> None:
    name = naming.prefetch_job_name("run-1", "f" * 64, "gpu-1")

    assert name == naming.prefetch_job_name("run-1", "f" * 64, "gpu-1")
    assert name != naming.prefetch_job_name("run-2", "f" * 64, "gpu-1")
    assert name != naming.prefetch_job_name("run-1", "f" * 64, "gpu-2")
    assert len(name) <= 63
