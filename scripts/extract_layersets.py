"""Write the layer sets of dcp_hw/layersets that come from torchvision's network definitions.

    python scripts/extract_layersets.py            # write them again
    python scripts/extract_layersets.py --check    # compare, exit 1 if one differs

Needs torchvision (`pip install torchvision`) and dcp-hw in the same environment. No weights are
loaded: the networks run once on shapes alone ("meta" tensors).

A layer set holds the convolutions and matrix products of one inference on one 3 x 224 x 224
image. Batch normalisation folds into the requantisation; residual additions, pooling, softmax,
layer normalisation and activation functions are not layers. Layers that agree in everything but
their name are one row: the name is the module path of the first, `count` says how many.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
import torchvision
from torch import Tensor, nn

from dcp_hw.layerset_csv import LAYERSET_FOLDER, dump_layerset, load_layerset
from dcp_hw.workload import Layer, LayerSet, Operator

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mobilenetv2": torchvision.models.mobilenet_v2,
    "resnet50": torchvision.models.resnet50,
    "resnet101": torchvision.models.resnet101,
    "vgg16": torchvision.models.vgg16,
    "vit_b16": torchvision.models.vit_b_16,
}
IMAGE_SHAPE = (1, 3, 224, 224)


def conv_layers(name: str, module: nn.Conv2d, x: Tensor, y: Tensor) -> list[Layer]:
    """The layer of a convolution `1 x C x iy x ix` -> `1 x K x Y x X`."""
    stride, padding, dilation = (
        _same_on_both_axes(module, values)
        for values in (module.stride, module.padding, module.dilation)
    )
    depthwise = module.groups == module.in_channels == module.out_channels > 1
    return [
        Layer(
            name=name,
            operator=Operator.DWCONV if depthwise else Operator.CONV,
            K=module.out_channels,
            C=module.in_channels,
            Y=y.shape[2],
            X=y.shape[3],
            R=module.kernel_size[0],
            S=module.kernel_size[1],
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=module.groups,
            iy=x.shape[2],
            ix=x.shape[3],
        )
    ]


def linear_layers(name: str, module: nn.Linear, x: Tensor, y: Tensor) -> list[Layer]:
    """The layer of a fully connected layer on `... x K`, all leading dimensions as rows."""
    rows = x.numel() // module.in_features
    return [_gemm(name, rows, module.out_features, module.in_features)]


def attention_layers(name: str, module: nn.MultiheadAttention, x: Tensor, y: Tensor) -> list[Layer]:
    """The four layers of self-attention on `1 x tokens x features`.

    One projection to queries, keys and values; queries x keys and weights x values with the
    heads as batches; the output projection.
    """
    tokens, features = x.shape[1:]
    heads, head_features = module.num_heads, module.head_dim
    batched = {"operator": Operator.BGEMM, "B": heads, "M": tokens}
    return [
        _gemm(f"{name}_qkv", tokens, 3 * features, features),
        Layer(name=f"{name}_scores", N=tokens, K=head_features, transposed=1, **batched),
        Layer(name=f"{name}_values", N=head_features, K=tokens, **batched),
        _gemm(f"{name}_out_proj", tokens, features, features),
    ]


def _gemm(name: str, m: int, n: int, k: int) -> Layer:
    return Layer(name=name, operator=Operator.GEMM, M=m, N=n, K=k)


def _same_on_both_axes(module: nn.Module, values: tuple[int, ...] | str) -> int:
    if isinstance(values, str) or len(set(values)) != 1:
        raise ValueError(f"{module}: one number for both axes is needed, got {values}")
    return values[0]


_DESCRIPTIONS = {
    nn.Conv2d: conv_layers,
    nn.Linear: linear_layers,
    nn.MultiheadAttention: attention_layers,
}


def network_layers(network: nn.Module) -> list[Layer]:
    """Layers of one inference, in the order in which they run."""
    layers: list[Layer] = []

    def hook(name: str, describe: Callable[..., list[Layer]]) -> Callable[..., None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            layers.extend(describe(name.replace(".", "_"), module, inputs[0], output))

        return record

    for name, module in network.named_modules():
        if type(module) in _DESCRIPTIONS:
            module.register_forward_hook(hook(name, _DESCRIPTIONS[type(module)]))
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        network(torch.empty(IMAGE_SHAPE, device="meta"))
    return layers


def distinct(layers: list[Layer]) -> list[Layer]:
    """Each distinct layer once, under its first name, with the number of its occurrences."""
    first: dict[Layer, Layer] = {}
    for layer in layers:
        key = replace(layer, name="any")
        known = first.get(key)
        first[key] = replace(known, count=known.count + 1) if known else layer
    return list(first.values())


def extract(name: str) -> LayerSet:
    """The layer set of one network."""
    with torch.device("meta"):
        network = NETWORKS[name](weights=None).eval()
    return LayerSet(name, tuple(distinct(network_layers(network))))


def main() -> int:
    """Write or check all layer sets; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    status = 0
    for name, build in NETWORKS.items():
        layerset = extract(name)
        path = LAYERSET_FOLDER / f"{name}.csv"
        if check:
            same = load_layerset(path) == layerset
            print(f"{path.name}: {'equal' if same else 'DIFFERS'}")
            status |= not same
            continue
        comment = (
            f"torchvision.models.{build.__name__}, one 3 x 224 x 224 image.\n"
            "Written by scripts/extract_layersets.py; run it again instead of editing."
        )
        path.write_text(dump_layerset(layerset, comment), encoding="utf-8")
        print(f"{path.name}: {len(layerset)} layers, {layerset.macs} MACs")
    return status


if __name__ == "__main__":
    sys.exit(main())
