"""The New Zealand study calibrated by other methods with as many simulations, and their forecasts scored compared with the study's."""
