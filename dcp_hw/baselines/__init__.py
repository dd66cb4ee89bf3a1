"""Searches for MAESTRO mappings under one evaluator, one legal space and one budget."""
