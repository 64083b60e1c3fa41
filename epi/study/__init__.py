"""The study: which region, calendar, parts and data streams."""
