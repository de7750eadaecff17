"""Plots of results: a plain function gives the data, another draws them with matplotlib."""
