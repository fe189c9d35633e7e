"""Loaded last by the process that workers are forked from: what is there by now stays, so that no worker goes
through all of it again to find what can be thrown away."""

import gc

gc.collect()
gc.freeze()
