"""dcp-hw: dataflow search, hardware generation and measurement for neural network layers."""

__version__ = "0.1.0"
