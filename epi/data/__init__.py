"""Reading and checking the tables of a study; observations by stream, week and place."""
