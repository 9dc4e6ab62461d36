"""The detectors: one method, one file."""
