"""Whether the strength of answers is found: oracle, shuffled, reversed and empty tables on made-up epidemics (docs/behaviour.md)."""
