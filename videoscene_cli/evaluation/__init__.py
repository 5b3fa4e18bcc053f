"""The reports of `evaluate`: methods on cases, finished scenes, sets of clips, timings."""
