"""New Zealand's BA.5 wave, winter 2022: a second study of the same country, with immunity from the first wave."""
