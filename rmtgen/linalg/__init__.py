"""Dense linear algebra: eigensolves, spectra, centring, triangular, band and Krylov methods."""
