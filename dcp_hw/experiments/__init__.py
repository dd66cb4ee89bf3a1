"""Experiments: one command each, resumable, with tables and plots."""
