"""New York City's Omicron wave: a forecast made with what was known on 1 January 2022."""
