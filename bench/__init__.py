"""How fast irkd is against plainer ways to the same result. `make bench` runs all of it.

Every time is a ratio of CPU times that were taken in turns within one run, on one thread, so that
a busy machine and another day change it little.
"""
