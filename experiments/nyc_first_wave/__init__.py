"""New York City, the first wave of 2020: the study and its serosurveys."""
