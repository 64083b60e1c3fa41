"""How right the gradients are, and what they cost: `python -m experiments.gradient_audit`."""
