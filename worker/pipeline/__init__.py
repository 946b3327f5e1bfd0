"""The way of a micro-batch: from bytes to published lists."""
