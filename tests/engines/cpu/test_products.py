"""The library of float32 products: by a rule, exact where it is used, and the same question on every processor."""

import pytest
import torch

import tiny
from headwater.engines.cpu import processor, products
from headwater.engines.cpu.processor import Processor
from headwater.errors import ResourceError

AMD = "vendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel name\t: AMD EPYC\nflags\t\t: avx2 avx512f avx512_bf16\n"
OLD_AMD = "vendor_id\t: AuthenticAMD\ncpu family\t: 23\nmodel name\t: AMD EPYC 7002\nflags\t\t: avx2\n"
INTEL = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel name\t: Xeon\nflags\t\t: avx512f avx512_bf16 amx_bf16\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve bf16\nCPU implementer\t: 0x41\n"


@pytest.fixture
def another(monkeypatch):
    """Plays another processor: its kernel's words, and how oneDNN multiplies there."""

    def play(text, multiply):
        monkeypatch.setattr(processor, "here", lambda: Processor.read(text))
        monkeypatch.setattr(products, "on_onednn", multiply)
        monkeypatch.setattr(products, "_kept", [])
        for asked in (products.error_here, products._by_rule):
            asked.cache_clear()

    yield play
    for asked in (products.error_here, products._by_rule):
        asked.cache_clear()


def float32(product, *operands):
    return product(*operands)


def bfloat16(product, *operands):
    """As an Intel processor with AMX multiplies when the switch is thrown."""
    return product(*(operand.bfloat16() for operand in operands)).float()


@pytest.mark.parametrize(
    ("text", "tiny_networks", "expected"),
    [(AMD, False, "onednn"), (AMD, True, "default"), (OLD_AMD, False, "default"), (INTEL, False, "default"),
     (ARM, False, "default"), ("", False, "default")],
)  # fmt: skip
def test_the_rule_asks_for_vendor_instructions_and_size(text, tiny_networks, expected):
    assert products.rule(Processor.read(text), tiny=tiny_networks) == expected


@pytest.mark.parametrize(("text", "said"), [(AMD, "AMD EPYC (family 26)"), (INTEL, "Xeon (family 6)")])
def test_a_processor_is_named_as_its_kernel_names_it(text, said):
    assert str(Processor.read(text)) == said


def test_a_machine_that_describes_no_processor_has_a_name_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert str(processor.here.__wrapped__()) and str(Processor.read(ARM))


def test_a_library_that_is_exact_is_used_where_the_rule_names_it(another):
    another(AMD, float32)
    assert products.library() == "onednn"
    products.keep("onednn")
    assert products.exact_or_default("onednn") == products.library() == "onednn"


@pytest.mark.parametrize("text", [AMD, INTEL])
def test_a_library_that_rounds_is_never_used_whatever_was_recorded(text, another):
    another(text, bfloat16)
    assert products.error_here() > 1e-3
    assert products.library() == products.exact_or_default("onednn") == "default"
    with pytest.raises(ResourceError, match=r"float32 products by onednn have an error of \d\.\de-03 on this") as told:
        products.keep("onednn")
    assert "\n" not in str(told.value)
    assert products.library() == "default"
    products.keep("default")


def test_the_error_is_measured_once_a_process(another):
    calls = []
    another(AMD, lambda product, *operands: calls.append(1) or product(*operands))
    products.keep("onednn")
    measured = len(calls)
    products.library(), products.keep("onednn"), products.exact_or_default("onednn")
    assert len(calls) == measured > 10


def test_the_switch_is_put_back_even_after_an_error():
    before = torch.get_float32_matmul_precision()
    products.error_here.__wrapped__()
    with pytest.raises(RuntimeError):
        products.on_onednn(torch.mm, torch.ones(2, 3), torch.ones(2, 3))
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("add", [False, True])
def test_a_product_into_a_buffer_is_the_product_on_either_library(add, another, monkeypatch):
    for text, multiply in ((AMD, float32), (INTEL, bfloat16)):
        another(text, multiply)
        a, b = torch.randn(5, 7), torch.randn(7, 3)
        out = torch.ones(5, 3)
        products.product_into(out, a, b, add=add)
        tiny.assert_near(out, a @ b + (1 if add else 0), 1e-6)
