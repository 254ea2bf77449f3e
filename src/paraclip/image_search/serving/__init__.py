"""`paraclip serve`: the search as a web page and an HTTP interface."""
