"""Benchmarks: what is measured, how, and the results as JSON files beside this one."""
