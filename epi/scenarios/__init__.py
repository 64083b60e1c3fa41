"""Scenarios asked of a calibrated study: interventions, counterfactuals, allocation."""
