"""Simulation of generated arrays against plain numpy references."""
