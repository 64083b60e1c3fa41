"""Problems with known posteriors, and what `calibrate` says of them."""
