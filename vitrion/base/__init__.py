"""What every other package stands on: units, errors, files, seeds, progress, text."""
