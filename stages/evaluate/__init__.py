"""(6) Evaluation: run methods on cases whose true frames are known, and record figures together with their protocol."""
