"""Plots of results: one function returns the data, another one draws them with matplotlib."""
