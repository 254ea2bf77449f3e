"""Reports, plots, contact sheet, browser of examples and comparison of reports."""
