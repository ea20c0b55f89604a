"""Take-overs: every one that runs on a CPU has a name that a run's identity holds; none runs elsewhere."""

import pytest
from torch import nn

import tiny
from headwater.engines.body import Body
from headwater.engines.cpu import embeddings, takeovers
from headwater.engines.linears import FastLinear
from headwater.engines.plain import TakenOver


def taken(network: nn.Module) -> set[nn.Module]:
    """The layers that compute in another way, but for linear ones, which do on every device."""
    return {m for m in network.modules() if isinstance(m, TakenOver) and not isinstance(m, FastLinear)}


@pytest.fixture
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "LARGE", 1)


@pytest.mark.usefixtures("every_size")
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_all_that_a_body_takes_over_on_a_cpu_is_taken_by_a_rule_with_a_name(family: str) -> None:
    body, by_name = tiny.FAMILIES[family](), tiny.FAMILIES[family]()
    Body(body)
    seen: list[int] = []
    for rule in takeovers.TAKE_OVERS.values():
        before = taken(by_name.network)
        rule(by_name.network)
        seen.append(len(taken(by_name.network) - before))
    assert len(taken(body.network)) == sum(seen)
    assert all(seen)


@pytest.mark.usefixtures("every_size")
def test_nothing_is_taken_over_where_no_weight_is_on_a_cpu() -> None:
    model = tiny.llama()
    network = model.network.to("meta")
    takeovers.take_over(network)
    assert not taken(network)
    assert takeovers.named("cuda") == "none"


def test_the_name_of_a_rule_says_its_size() -> None:
    assert takeovers.named("cpu") == "RMS norms, embeddings of 1,048,576 numbers or more"
    assert embeddings.LARGE == 1_048_576
