"""Exact integer analysis of loop nests under space-time transformations."""
