# The transport analysis of each trajectory.


rule analyze_trajectory:
    input:
        segments=collect(
            "<results>/production/{{composition}}/T{{temperature}}/r{{replica}}/segment-{segment:04d}.h5",
            segment=range(CAMPAIGN.production.segments),
        ),
        checks=rules.quench_glass.output.checks,
        modules=package_modules("transport"),
    output:
        **{
            table: f"<results>/transport/{{composition}}/T{{temperature}}/r{{replica}}/{table}.parquet"
            for table in TRANSPORT_TABLES
        },
    log:
        "<results>/logs/analyze_trajectory/{composition}-T{temperature}-r{replica}.log",
    benchmark:
        "<results>/benchmarks/analyze_trajectory/{composition}-T{temperature}-r{replica}.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
        runtime=lambda wildcards, attempt: attempt * 120,
    params:
        composition=lambda wildcards: COMPOSITIONS[wildcards.composition],
        settings=settings("transport"),
        provenance=provenance(),
    script:
        "../scripts/analyze_trajectory.py"
