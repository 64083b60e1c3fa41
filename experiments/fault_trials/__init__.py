"""Faults on purpose: what the project refuses, what it accepts, and what goes wrong."""
