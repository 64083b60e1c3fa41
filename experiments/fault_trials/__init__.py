"""Faults of tables, folders, files, processes and places, tried with a seed: what each ends in."""
