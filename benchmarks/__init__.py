"""Every figure of docs/performance.md is a command.

`python -m benchmarks.NAME [--quick] [--report FILE]`.
"""
