"""HTML pages of reports: one base, its macros, and a template for each kind of page."""
