"""Throughput of the stream machinery beside other ways to do the same job.

See `benchmarks.stream.__main__`.
"""
