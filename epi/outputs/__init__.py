"""What a run writes: posterior, forecast, scores, derivatives; and reading it again."""
