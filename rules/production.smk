# One chain of jobs for every trajectory: equilibrate the glass, then segment after segment. With
# `production.stop_when` a decision follows each segment from the least length on, and the next segment
# comes into the graph when the decision has asked for it.


rule equilibrate_glass:
    input:
        glass=rules.quench_glass.output.glass,
        model="<potential>/model.safetensors",
    output:
        state="<results>/production/{composition}/T{temperature}/r{replica}/equilibrated.h5",
        thermo="<results>/production/{composition}/T{temperature}/r{replica}/thermo.parquet",
    log:
        "<results>/logs/equilibrate_glass/{composition}-T{temperature}-r{replica}.log",
    benchmark:
        "<results>/benchmarks/equilibrate_glass/{composition}-T{temperature}-r{replica}.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=md_mem_mb,
        runtime=1440,
        gpu=MD_GPUS,
    params:
        settings=settings("dynamics"),
        equilibrate_ps=CAMPAIGN.production.equilibrate_ps,
        seed=seed("equilibrate"),
    script:
        "../scripts/equilibrate_glass.py"


if CAMPAIGN.production.batch == 1:

    rule produce_segment:
        input:
            previous=previous_state,
            model="<potential>/model.safetensors",
        output:
            segment="<results>/production/{composition}/T{temperature}/r{replica}/segment-{segment}.h5",
        log:
            "<results>/logs/produce_segment/{composition}-T{temperature}-r{replica}-{segment}.log",
        benchmark:
            "<results>/benchmarks/produce_segment/{composition}-T{temperature}-r{replica}-{segment}.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: CAMPAIGN.dynamics.threads
        resources:
            mem_mb=md_mem_mb,
            runtime=1440,
            gpu=MD_GPUS,
        params:
            settings=settings("dynamics"),
            segment_ps=CAMPAIGN.production.segment_ps,
            frame_interval_ps=CAMPAIGN.production.frame_interval_ps,
            position_precision_A=CAMPAIGN.production.position_precision_A,
        script:
            "../scripts/produce_segment.py"

else:

    # The trajectories of a job are part of its outputs' names, so each batch has a rule of its own.
    for number, members in enumerate(CAMPAIGN.batches):

        rule:
            name:
                f"produce_batch_{number}"
            input:
                previous=previous_states(members),
                model="<potential>/model.safetensors",
            output:
                segments=[
                    f"<results>/production/{{composition}}/T{temperature:04d}/r{replica}/segment-{{segment}}.h5"
                    for temperature, replica in members
                ],
            log:
                f"<results>/logs/produce_batch_{number}/{{composition}}-{{segment}}.log",
            benchmark:
                f"<results>/benchmarks/produce_batch_{number}/{{composition}}-{{segment}}.tsv"
            conda:
                "../envs/vitrion.yaml"
            threads: CAMPAIGN.dynamics.threads
            resources:
                mem_mb=batch_mem_mb(len(members)),
                runtime=1440,
                gpu=MD_GPUS,
            params:
                settings=settings("dynamics"),
                temperatures_K=[temperature for temperature, _ in members],
                segment_ps=CAMPAIGN.production.segment_ps,
                frame_interval_ps=CAMPAIGN.production.frame_interval_ps,
                position_precision_A=CAMPAIGN.production.position_precision_A,
            script:
                "../scripts/produce_batch.py"


if CAMPAIGN.production.stop_when:

    checkpoint decide_length:
        input:
            segments=lambda wildcards: first_segments(int(wildcards.segment) + 1),
        output:
            decision="<results>/production/{composition}/T{temperature}/r{replica}/decision-{segment}.json",
        log:
            "<results>/logs/decide_length/{composition}-T{temperature}-r{replica}-{segment}.log",
        benchmark:
            "<results>/benchmarks/decide_length/{composition}-T{temperature}-r{replica}-{segment}.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=lambda wildcards, attempt: attempt * 4000,
            runtime=lambda wildcards, attempt: attempt * 60,
        params:
            composition=lambda wildcards: COMPOSITIONS[wildcards.composition],
            settings=settings("transport"),
            stop_when=CAMPAIGN.production.stop_when.model_dump(mode="json"),
            segment_ps=CAMPAIGN.production.segment_ps,
        script:
            "../scripts/decide_length.py"
