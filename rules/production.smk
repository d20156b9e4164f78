# One chain of jobs for every trajectory: equilibrate the glass, then segment after segment. With
# `production.stop_when` a decision follows each segment from the shortest length on, and the next
# segment comes into the graph when the decision has asked for it.

PRODUCTION_SETTINGS = settings(
    "dynamics.timestep_fs",
    "dynamics.thermostat",
    "dynamics.thermostat_tau_fs",
    "production.segment_ps",
    "production.frame_interval_ps",
    "production.position_precision_A",
)


rule equilibrate_glass:
    input:
        glass=outputs("quench_glass")["glass"],
        model="<potential>/model.safetensors",
    output:
        **outputs("equilibrate_glass"),
    log:
        log_of("equilibrate_glass"),
    benchmark:
        benchmark_of("equilibrate_glass")
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=md_mem_mb,
        runtime=1440,
        gpu=MD_GPUS,
    params:
        settings=settings(
            "production.equilibrate_ps",
            "dynamics.timestep_fs",
            "dynamics.thermostat",
            "dynamics.thermostat_tau_fs",
            "dynamics.barostat_tau_fs",
            "dynamics.compressibility_1_GPa",
            "dynamics.pressure_GPa",
            "dynamics.sample_interval_ps",
        ),
        seed=seed("equilibrate"),
    script:
        "../scripts/equilibrate_glass.py"


if CAMPAIGN.production.batch == 1:

    rule produce_segment:
        input:
            previous=previous_state,
            model="<potential>/model.safetensors",
        output:
            **outputs("produce_segment"),
        log:
            log_of("produce_segment"),
        benchmark:
            benchmark_of("produce_segment")
        conda:
            "../envs/vitrion.yaml"
        threads: CAMPAIGN.dynamics.threads
        resources:
            mem_mb=md_mem_mb,
            runtime=1440,
            gpu=MD_GPUS,
        params:
            settings=PRODUCTION_SETTINGS,
        script:
            "../scripts/produce_segment.py"

else:

    # The trajectories of a job are part of its outputs' names, so each batch has a rule of its own.
    # What a profile sets for `produce_batch` holds for each of them. (Snakemake knows names alone.)
    OVERRIDES = workflow.resource_settings._parsed_overwrite_resources
    for number, members in enumerate(CAMPAIGN.batches):
        OVERRIDES[f"produce_batch_{number}"] = Resources(
            {
                **OVERRIDES.get("produce_batch", {}),
                **OVERRIDES.get(f"produce_batch_{number}", {}),
            }
        )

        rule:
            name:
                f"produce_batch_{number}"
            input:
                previous=previous_states(members),
                model="<potential>/model.safetensors",
            output:
                segments=batch_segments(members),
            log:
                log_of(f"produce_batch_{number}"),
            benchmark:
                benchmark_of(f"produce_batch_{number}")
            conda:
                "../envs/vitrion.yaml"
            threads: CAMPAIGN.dynamics.threads
            resources:
                mem_mb=batch_mem_mb(len(members)),
                runtime=1440,
                gpu=MD_GPUS,
            params:
                settings=PRODUCTION_SETTINGS,
                temperatures_K=[temperature for temperature, _ in members],
            script:
                "../scripts/produce_batch.py"


if CAMPAIGN.production.stop_when:

    checkpoint decide_length:
        input:
            segments=lambda wildcards: first_segments(int(wildcards.segment) + 1),
        output:
            **outputs("decide_length"),
        log:
            log_of("decide_length"),
        benchmark:
            benchmark_of("decide_length")
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: attempt * 4000,
            runtime=lambda wildcards, attempt: attempt * 60,
        params:
            columns=columns("mobile", "charges"),
            settings=settings(
                "production.segment_ps",
                "production.stop_when.relative_error",
                "production.stop_when.quantities",
                "transport.discard_ps",
                "transport.reference_frame",
                "transport.diffusive_tolerance",
                "transport.least_displacement_A",
            ),
        script:
            "../scripts/decide_length.py"
