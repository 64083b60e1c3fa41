"""How often questions are answered rightly, and whether a number that no tool found is ever shown (docs/analyst.md)."""
