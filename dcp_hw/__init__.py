"""dcp-hw: dataflow search, hardware generation and measurement for neural network layers."""
