"""An interactive loss-landscape suite."""
