# Vitrion: from DFT data to transport numbers of amorphous alkali oxyhalides.
#
#   snakemake                                         the campaign of config.yaml
#   snakemake --configfile tests/toy/config.yaml      the toy campaign
#   snakemake -n ...                                  what would be done
from snakemake.utils import min_version

min_version("9.12")


# The configuration beside this file, wherever Snakemake runs (--directory, -s); results are written
# to the working folder.
configfile: f"{workflow.basedir}/config.yaml"


# Of envs/apptainer.def; used with --sdm apptainer alone.
container: f"{workflow.basedir}/vitrion.sif"


include: "rules/common.smk"
include: "rules/dataset.smk"
include: "rules/finetune.smk"
include: "rules/quench.smk"
include: "rules/production.smk"
include: "rules/transport.smk"
include: "rules/report.smk"


report: "report/campaign.rst"


localrules:
    all,


rule all:
    default_target: True
    input:
        outputs("build_report")["html"],
        summary_tables(),
        retention_tables(),
        last_decisions(),
