# One glass for every composition and replica: pack, melt, quench, anneal, measure. Limits are laid over the
# measurements afterwards, so that a changed limit runs no dynamics.


rule quench_glass:
    input:
        model="<potential>/model.safetensors",
        accepted=validation(),
    output:
        glass="<results>/quench/{composition}/r{replica}/glass.extxyz",
        thermo="<results>/quench/{composition}/r{replica}/thermo.parquet",
        measurements="<results>/quench/{composition}/r{replica}/glass_measurements.parquet",
    log:
        "<results>/logs/quench_glass/{composition}-r{replica}.log",
    benchmark:
        "<results>/benchmarks/quench_glass/{composition}-r{replica}.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=md_mem_mb,
        runtime=1440,
        gpu=MD_GPUS,
    params:
        composition=lambda wildcards: COMPOSITIONS[wildcards.composition],
        formula_units=CAMPAIGN.formula_units,
        settings=settings("quench", "dynamics"),
        seed=seed("quench"),
    script:
        "../scripts/quench_glass.py"


rule check_glass:
    input:
        measurements=rules.quench_glass.output.measurements,
    output:
        checks="<results>/quench/{composition}/r{replica}/glass_checks.parquet",
    log:
        "<results>/logs/check_glass/{composition}-r{replica}.log",
    benchmark:
        "<results>/benchmarks/check_glass/{composition}-r{replica}.tsv"
    conda:
        "../envs/vitrion.yaml"
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        composition=lambda wildcards: COMPOSITIONS[wildcards.composition],
        limits=CAMPAIGN.quench.limits.model_dump(mode="json"),
    script:
        "../scripts/check_glass.py"


# Only for the command line: the glasses and their checks, and nothing after them.
rule quench_glasses:
    input:
        glass_tables("glass_checks"),
    localrule: True
