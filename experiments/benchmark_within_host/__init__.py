"""What the within-host model costs compared with an epidemic."""
