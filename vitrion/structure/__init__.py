"""Compositions, packings, neighbours and pair distributions."""
