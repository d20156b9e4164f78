# One glass for every composition and replica: pack, melt, quench, anneal, check.


rule quench_glass:
    input:
        model="<potential>/model.safetensors",
        accepted=validation(),
    output:
        glass="<results>/quench/{composition}/r{replica}/glass.extxyz",
        thermo="<results>/quench/{composition}/r{replica}/thermo.parquet",
        checks="<results>/quench/{composition}/r{replica}/glass_checks.parquet",
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


# Only for the command line: the glasses and their checks, and nothing after them.
rule quench_glasses:
    input:
        glass_tables("glass_checks"),
    localrule: True
