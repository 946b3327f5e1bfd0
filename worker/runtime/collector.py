"""The garbage collector, kept from looking at what it never frees."""

import gc


def freeze_heap() -> None:
    """Collect seldom, and leave out all objects of now: call it when all is loaded that stays.

    A micro-batch makes ten thousands of small objects, and few of them in a cycle. By default they
    have the collector go through all modules and all records that wait, again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
