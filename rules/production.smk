# One chain of jobs for every trajectory: equilibrate the glass, then segment after segment.


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
