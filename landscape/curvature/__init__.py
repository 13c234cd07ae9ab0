"""Curvature: the Hessian as an operator, its eigenpairs, trace and spectral density."""
