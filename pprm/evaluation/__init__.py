"""Offline evaluation: every contender on the same visits, in one replay.

All figures have standard errors.
"""
