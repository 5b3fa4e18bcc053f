"""(6) Evaluation: values for methods on cases with true frames, for scenes without truth, and for sets of clips.

All values are recorded together with their protocol.
"""
