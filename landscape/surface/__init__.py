"""Loss surfaces: directions, planes, their evaluation, and the results."""
