"""Vitrion: from DFT data to transport numbers of amorphous alkali oxyhalides."""

__version__ = "0.1.0"
