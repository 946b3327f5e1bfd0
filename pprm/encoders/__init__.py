"""Texts and other things to vectors."""
