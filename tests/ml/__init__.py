"""Tests of the computing core, one file per module."""
