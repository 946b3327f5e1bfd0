"""Cost per event and memory as users, history, workers and partitions grow.

`python -m benchmarks.scale`.
"""
