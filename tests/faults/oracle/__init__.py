"""What should be in the topics, worked out from the input alone; shares no code with the worker.

`python -m tests.faults.oracle --help`. `judge` is pure: a log in, counts per class of fault out.
"""
