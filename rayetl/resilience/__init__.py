"""What is tried again, how long it is waited for, and when an endpoint is left alone.

Pure: clock, chance and sleep are passed in, so that the same classes serve this process and the actors of
a cluster.
"""
