"""Deaths of ten Massachusetts counties in 2020: the benchmark on which differentiable epidemic models are compared."""
