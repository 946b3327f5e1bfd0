"""Shops to train on: a module each, all giving a `dataset.Dataset`."""
