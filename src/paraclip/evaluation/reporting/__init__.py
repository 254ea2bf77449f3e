"""Reports, plots, contact sheet, example browser and comparison of reports."""
