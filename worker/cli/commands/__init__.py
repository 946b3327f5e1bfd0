"""The commands, one module a group: what each takes and says. Slow imports wait until it runs.

`worker.cli.app` gives them their names and their order.
"""
