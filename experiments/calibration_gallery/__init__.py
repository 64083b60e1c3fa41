"""Problems with known posteriors, every method on each: does `calibrate` tell the truth?"""
