"""Reproductions of published results: their commands, their archived rows, the comparison and the pages."""
