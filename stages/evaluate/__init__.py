"""Stage 7, evaluate: run methods on cases with a known truth and record the figures with their protocol."""
