# The transport analysis of each trajectory. Its frames may be left out afterwards
# (`production.keep_every`). An analysis from fewer frames would be poorer, or fail, so then new code
# of the package does not ask for one, and the tables that are there outlive one that fails.


rule analyze_trajectory:
    input:
        segments=all_segments,
        measurements=rules.quench_glass.output.measurements,
        modules=package_modules("transport", "trajectory", "structure") if KEEPS_FRAMES else [],
    output:
        **{
            table: path if KEEPS_FRAMES else update(path)
            for table, path in trajectory_outputs().items()
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
        limits=CAMPAIGN.quench.limits.model_dump(mode="json"),
        provenance=provenance(),
    script:
        "../scripts/analyze_trajectory.py"


if not KEEPS_FRAMES:

    rule thin_trajectory:
        input:
            analysed=rules.analyze_trajectory.output.trajectories,
            segments=all_segments,
        output:
            retention="<results>/production/{composition}/T{temperature}/r{replica}/retention.parquet",
        log:
            "<results>/logs/thin_trajectory/{composition}-T{temperature}-r{replica}.log",
        benchmark:
            "<results>/benchmarks/thin_trajectory/{composition}-T{temperature}-r{replica}.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            keep_every=CAMPAIGN.production.keep_every,
            provenance=provenance(),
        script:
            "../scripts/thin_trajectory.py"


# Only for the command line: the tables of every trajectory, and nothing after them.
rule analyze_trajectories:
    input:
        every_trajectory("transport", "trajectories.parquet"),
        last_decisions(),
    localrule: True
