"""The `vitrion` command: every stage of a campaign for single use, without Snakemake."""
