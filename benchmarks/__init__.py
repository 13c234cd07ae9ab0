"""Speed, side by side: every number is a ratio to another package or to a floor, measured in one interleaved run."""
