# The transport analysis of each trajectory. Some of its frames may be left out afterwards
# (`production.keep_every`). An analysis of fewer frames would be worse, or fail. So then new code of
# the package does not ask for one, and the tables outlive an analysis that fails.


rule analyze_trajectory:
    input:
        segments=all_segments,
    output:
        **{
            table: path if KEEPS_FRAMES else update(path)
            for table, path in outputs("analyze_trajectory").items()
        },
    log:
        log_of("analyze_trajectory"),
    benchmark:
        benchmark_of("analyze_trajectory")
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 4000,
        runtime=lambda wildcards, attempt: attempt * 120,
    params:
        code=code("transport", "trajectory", "structure") if KEEPS_FRAMES else None,
        columns=columns("mobile", "center", "ligands", "charges"),
        settings=settings(
            "transport.discard_ps",
            "transport.reference_frame",
            "transport.rdf_cutoff_A",
            "transport.cutoffs_A",
            "transport.residence_tolerance_ps",
            "transport.diffusive_tolerance",
            "transport.least_displacement_A",
            "transport.jump_length_A",
        ),
    script:
        "../scripts/analyze_trajectory.py"


if not KEEPS_FRAMES:

    rule thin_trajectory:
        input:
            analysed=rules.analyze_trajectory.output.trajectories,
            segments=all_segments,
        output:
            **outputs("thin_trajectory"),
        log:
            log_of("thin_trajectory"),
        benchmark:
            benchmark_of("thin_trajectory")
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            settings=settings("production.keep_every"),
        script:
            "../scripts/thin_trajectory.py"


# Only for the command line: the tables of every trajectory, and nothing after them.
rule analyze_trajectories:
    input:
        of_every_trajectory("analyze_trajectory", "trajectories"),
        last_decisions(),
    localrule: True
