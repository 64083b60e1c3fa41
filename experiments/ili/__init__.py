"""Influenza-like illness of Massachusetts, 2017-18: the benchmark on which differentiable epidemic models are compared."""
