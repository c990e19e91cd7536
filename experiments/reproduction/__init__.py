"""Published results: which runs repeat them, what is held against what, and the page that says so."""
