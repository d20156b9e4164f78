#!/bin/bash
# Snakemake itself as a batch job, where login nodes end long processes: sbatch profiles/mycluster/campaign.sh
# It computes nothing; it submits the campaign's jobs and waits for them.
#SBATCH --job-name=vitrion
#SBATCH --partition=cpu              # SET: one that allows long jobs
#SBATCH --time=7-00:00:00            # SET: the partition's limit; submit again to continue
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --signal=B:INT@600           # ten minutes before the limit: end as with Ctrl-C
#SBATCH --output=vitrion-%j.log
set -euo pipefail

# SET: what you type before you use Vitrion by hand.
# module load gcc
source .venv/bin/activate

# Inside a job the plugin drops every variable of SLURM, SLURM_CONF too, which some clusters need.
for name in "${!SLURM_@}"; do [ "$name" = SLURM_CONF ] || unset "$name"; done

# A lock of a run that was killed; a run that goes on keeps its jobs (docs/slurm.md).
snakemake --workflow-profile "${PROFILE:-profiles/mycluster}" --unlock --quiet all "$@"
# In the background, so that this shell can pass the signal on; with job control, without which a
# process in the background ignores it.
set -m
snakemake --workflow-profile "${PROFILE:-profiles/mycluster}" "$@" &
trap 'kill -INT $!' INT
wait $! || wait $!
