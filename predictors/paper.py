"""The DCP paper's predictor: attention over a layer's and a dataflow's code, as published.

49 numbers (layer code 7, dataflow code 3 x 7 x 2) -> linear to 512 = 8 tokens x 64 -> 4
self-attention layers with hidden width 64, Swish and dropout 0.1 -> a head of one attention layer
with one output for each of latency, energy and power. It sees neither stride nor machine.

The paper leaves open the inside of layers and heads. Here a layer is attention and one linear layer
64 x 64, a head projects all 512 numbers to queries, keys and values of 8 tokens x 8; that gives
both counts it states, 0.4M parameters and 1M multiply-adds. It leaves open the scaling of inputs
and metrics too: both are standardised, the metrics as logs, without which it does not train.

Source: Xu, Shao, Ding, Luo, "DCP: Learning Accelerator Dataflow for Neural Network via
Propagation", Sec. 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors.interface import METRIC_NAMES, PredictorError

INPUTS = 49
TOKENS, HIDDEN, LAYERS, HEADS, DROPOUT = 8, 64, 4, 4, 0.1
_INNER = 8


class _Layer(nn.Module):
    """Self-attention and a linear layer, each added to its input and normalised: b x 8 x 64."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.join = nn.Linear(HIDDEN, HIDDEN)
        self.inner = nn.Linear(HIDDEN, HIDDEN)
        self.norms = nn.ModuleList(nn.LayerNorm(HIDDEN) for _ in range(2))
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        parts = self.mix(x).reshape(b, TOKENS, 3, HEADS, HIDDEN // HEADS).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts.unbind(0))
        mixed = self.join(mixed.transpose(1, 2).reshape(b, TOKENS, HIDDEN))
        x = self.norms[0](x + self.drop(mixed))
        return self.norms[1](x + self.drop(nn.functional.silu(self.inner(x))))


class _Head(nn.Module):
    """One attention layer with one output: b x 512 -> b."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(TOKENS * HIDDEN, 3 * TOKENS * _INNER)
        self.out = nn.Linear(TOKENS * _INNER, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.mix(x).reshape(-1, 3, TOKENS, _INNER).unbind(1)
        mixed = nn.functional.scaled_dot_product_attention(*parts)
        return self.out(mixed.flatten(1))[:, 0]


class PaperPredictor(nn.Module):
    """Logs of latency, energy and power of codes, standardised."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("spread", torch.ones(INPUTS))
        self.register_buffer("metric_mean", torch.zeros(len(METRIC_NAMES)))
        self.register_buffer("metric_spread", torch.ones(len(METRIC_NAMES)))
        self.embed = nn.Linear(INPUTS, TOKENS * HIDDEN)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.heads = nn.ModuleList(_Head() for _ in METRIC_NAMES)

    def normalise(self, codes: Tensor, logs: Tensor) -> None:
        """Take mean and spread of codes (n x 49) and log metrics (n x 3) of the training data."""
        for name, values in (("", codes), ("metric_", logs)):
            getattr(self, f"{name}mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}spread").copy_(values.std(dim=0).clamp(min=1e-3))

    def scaled(self, codes: Tensor) -> Tensor:
        """Standardised log metrics of codes, b x 49 -> b x 3."""
        if codes.ndim != 2 or codes.shape[1] != INPUTS:
            raise PredictorError(f"codes of shape {tuple(codes.shape)}; accepted: (b, {INPUTS})")
        x = self.embed((codes - self.mean) / self.spread)
        x = nn.functional.silu(x).reshape(-1, TOKENS, HIDDEN)
        for layer in self.layers:
            x = layer(x)
        flat = x.flatten(1)
        return torch.stack([head(flat) for head in self.heads], dim=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Natural logs of latency (cycles), energy (nJ) and power (mW): b x 49 -> b x 3."""
        return self.scaled(codes) * self.metric_spread + self.metric_mean


def log_cosh_loss(predicted: Tensor, real: Tensor) -> Tensor:
    """Sum over metrics of log cosh(P - R), mean over the batch."""
    difference = (predicted - real).abs()
    each = difference + nn.functional.softplus(-2 * difference) - 0.6931471805599453
    return each.sum(dim=1).mean()
