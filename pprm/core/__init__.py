"""What every room uses: events, ids, compiled loops, hash tables, progress."""
