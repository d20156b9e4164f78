#!/bin/bash
# A campaign inside one whole node with four GPUs, where the cluster lends only whole nodes:
# sbatch profiles/mycluster/node.sh. Every MD job takes a GPU of its own.
#SBATCH --job-name=vitrion-node
#SBATCH --partition=gpu              # SET
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --gpus=4                     # SET: GPUs of a node; the same below
#SBATCH --time=1-00:00:00            # SET: submit again to continue
#SBATCH --output=vitrion-node-%j.log
set -euo pipefail

# SET: what you type before you use Vitrion by hand.
# module load gcc
source .venv/bin/activate

snakemake --workflow-profile profiles/workstation --unlock --quiet all "$@"
snakemake --workflow-profile profiles/workstation --cores "${SLURM_CPUS_ON_NODE:-all}" \
  --resources gpu=4 "$@"
