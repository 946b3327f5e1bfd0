"""A shopper's state: its layout, the fold of events into it, readers of older layouts."""
