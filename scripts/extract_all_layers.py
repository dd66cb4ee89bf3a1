"""Write the distinct layers of all classification networks of torchvision to one CSV file.

    python scripts/extract_all_layers.py            # write it again
    python scripts/extract_all_layers.py --check    # compare, exit 1 if it differs

Needs torchvision (`pip install torchvision`) and dcp-hw in the same environment. No weights are
loaded: each network runs on shapes alone ("meta" tensors), and every convolution and matrix product
is recorded where torch dispatches it, so that functional calls (windowed attention) are seen as
well. Images have the size that the default weights are evaluated with, 224 x 224, and 448 x 448
(the first two alone give fewer than 2,000 distinct layers). In the first run a network's MACs must
be those that torchvision states for it.

A row is what an accelerator runs at a time: one group of a grouped convolution, one product of a
batched one. Layers that are the same loop nest are one row under the name of the first; `count`
says how often all these runs together run it. A padding that differs between rows and columns
becomes part of the stored input.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dcp_hw.layerset_csv import dump_layerset, load_layerset
from dcp_hw.workload import MAX_SIZE, Layer, LayerSet, Operator

TARGET = Path(__file__).parents[1] / "dcp_hw" / "maestro" / "data" / "torchvision_layers.csv"
IMAGE_SIZES = (224, 448)
_LEFT_OUT = ("quantized", "detection", "segmentation", "video", "optical_flow")
aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Recorded:
    """A layer, and how often one run of the operation it comes from runs it."""

    layer: Layer
    times: int


def convolution(name: str, args: tuple[Any, ...], output: Tensor) -> Recorded:
    """One group of a convolution `n x C x iy x ix` -> `n x K x Y x X`."""
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    if transposed or len(set(stride)) != 1 or len(set(dilation)) != 1:
        raise ValueError(f"{name}: a plain convolution of one stride is needed, got {args[3:]}")
    rows, columns = x.shape[2:]
    if len(set(padding)) != 1:
        rows, columns = rows + 2 * padding[0], columns + 2 * padding[1]
        padding = [0]
    depthwise = groups == x.shape[1] == weight.shape[0] > 1
    shared = 1 if depthwise else groups
    layer = Layer(
        name=name,
        operator=Operator.DWCONV if depthwise else Operator.CONV,
        K=weight.shape[0] // shared,
        C=x.shape[1] // shared,
        Y=output.shape[2],
        X=output.shape[3],
        R=weight.shape[2],
        S=weight.shape[3],
        stride=stride[0],
        padding=padding[0],
        dilation=dilation[0],
        groups=groups if depthwise else 1,
        iy=rows,
        ix=columns,
    )
    return Recorded(layer, shared)


def product(name: str, args: tuple[Any, ...], output: Tensor) -> Recorded:
    """A matrix product, or one of a batch; the same right matrix for all of a batch is one."""
    a, b = (x for x in args if isinstance(x, Tensor) and x is not output)
    batch = prod(a.shape[:-2])
    rows = a.shape[-2]
    if b.dim() == 3 and b.stride(0) == 0:
        rows, batch = rows * batch, 1
    gemm = Layer(name=name, operator=Operator.GEMM, M=rows, N=b.shape[-1], K=a.shape[-1])
    return Recorded(gemm, batch)


def with_sum(name: str, args: tuple[Any, ...], output: Tensor) -> Recorded:
    """A matrix product that adds to its first argument."""
    return product(name, args[1:], output)


_DESCRIPTIONS: dict[Any, Callable[[str, tuple[Any, ...], Tensor], Recorded]] = {
    aten.convolution.default: convolution,
    aten.mm.default: product,
    aten.bmm.default: product,
    aten.addmm.default: with_sum,
    aten.baddbmm.default: with_sum,
}
_OTHER_PRODUCTS = re.compile(r"conv|mm|matmul|linear|attention|einsum|bilinear|mv|dot")


class Recorder(TorchDispatchMode):
    """Lists what runs, named by the module that is running."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.found: list[Recorded] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The operation's result. Raises: ValueError for a product that nobody described."""
        output = func(*args, **(kwargs or {}))
        if func in _DESCRIPTIONS:
            self.found.append(_DESCRIPTIONS[func](self.running[-1], args, output))
        elif _OTHER_PRODUCTS.search(str(func)):
            raise ValueError(f"{self.running[-1]}: {func} is not described here")
        return output


class Weightless(TorchFunctionMode):
    """Makes parameters without data; numbers that a network's definition computes stay real."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The function's result."""
        kwargs = dict(kwargs or {})
        if func in (torch.empty, torch.zeros, torch.ones):
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def network_layers(name: str, size: int) -> list[Recorded]:
    """Layers of one inference on a `size x size` image, in the order in which they run."""
    sized: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
    if name.startswith("maxvit_"):
        sized = {"input_size": (size, size)}
    with Weightless():
        network = torchvision.models.get_model(name, weights=None, **sized).eval().to("meta")
        image = torch.empty(1, 3, size, size)
    recorder = Recorder()

    def enter(path: str) -> Callable[..., None]:
        return lambda *_: recorder.running.append(re.sub(r"\W", "_", f"{name}_{path}"))

    for path, module in network.named_modules():
        module.register_forward_pre_hook(enter(path or "top"))
        module.register_forward_hook(lambda *_: recorder.running.pop() and None)
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
        network(image)
    return recorder.found


def networks() -> Iterator[str]:
    """Names of the classification networks."""
    for name in torchvision.models.list_models(module=torchvision.models):
        if not any(word in name for word in _LEFT_OUT):
            yield name


def all_layers() -> tuple[list[Recorded], int]:
    """Layers of all networks, and the number of networks.

    Raises: ValueError for a network whose MACs are not those that torchvision states.
    """
    names, recorded = list(networks()), []
    for number, name in enumerate(names, start=1):
        weights = torchvision.models.get_model_weights(name).DEFAULT
        own = weights.transforms().crop_size[0]
        for size in dict.fromkeys((own, *IMAGE_SIZES)):
            found = network_layers(name, size)
            recorded += found
            macs = sum(one.times * one.layer.macs for one in found)
            print(f"{number}/{len(names)} {name} {size}: {macs / 1e9:.3f}G MACs", file=sys.stderr)
            stated = weights.meta["_ops"]
            if size == own and abs(macs / 1e9 - stated) > 0.005 * stated + 0.001:
                raise ValueError(f"{name}: {macs} MACs found, torchvision states {stated}G")
    return recorded, len(names)


def distinct(recorded: list[Recorded]) -> list[Layer]:
    """Each loop nest once, in the order found; names made distinct."""
    first: dict[Layer, Layer] = {}
    names: dict[str, int] = {}
    for one in recorded:
        key = replace(one.layer, name="any")
        known = first.get(key)
        if known is None:
            name = one.layer.name
            names[name] = names.get(name, 0) + 1
            name += f"_{names[name]}" if names[name] > 1 else ""
            first[key] = replace(one.layer, name=name, count=one.times)
        else:
            first[key] = replace(known, count=min(known.count + one.times, MAX_SIZE))
    return list(first.values())


def main() -> int:
    """Write or check the file; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    recorded, number = all_layers()
    layers = LayerSet(TARGET.stem, tuple(distinct(recorded)))
    if check:
        same = load_layerset(TARGET) == layers
        print(f"{TARGET.name}: {'equal' if same else 'DIFFERS'}")
        return 0 if same else 1
    version = torchvision.__version__.partition("+")[0]
    comment = (
        f"Distinct layers of the {number} classification networks of torchvision {version}.\n"
        "Written by scripts/extract_all_layers.py; run it again instead of editing."
    )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(dump_layerset(layers, comment), encoding="utf-8")
    print(f"{TARGET.name}: {len(layers)} layers of {number} networks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
