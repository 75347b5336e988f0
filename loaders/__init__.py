"""Sec. 4.1, Datasets: what a sample is, and one module per family of data sets."""
