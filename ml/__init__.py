"""The computing core: features, clusterers, selection, evaluation and drift.

Values in, values out: no Django, settings, clock, files or logging in here.
"""
