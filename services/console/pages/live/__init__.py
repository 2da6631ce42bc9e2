"""Figures that change by themselves on open pages: one sampler a console, and a stream for each page."""
