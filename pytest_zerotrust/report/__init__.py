"""Reads finished results: the table of levels, the header, files of evidence. Knows no cluster."""
