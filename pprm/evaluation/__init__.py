"""Offline evaluation: every contender on the same visits, in one replay.

Figures with their standard errors.
"""
