"""Ranking: a network over rich features of the best few hundred products."""
