"""Dense linear algebra: eigensolves and modes, centring, triangular, band and Krylov
factorisations.
"""
