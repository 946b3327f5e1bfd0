"""Offline evaluation: every contender on the same visits, in one replay; figures with their standard errors."""
