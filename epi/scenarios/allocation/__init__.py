"""Allocation of restrictions and doses under a budget."""
