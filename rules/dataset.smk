# Labelled DFT frames: the data sets of the configuration, and frames sampled and labelled here.


rule sample_frames:
    input:
        unpack(previous_round),
    output:
        **outputs("sample_frames"),
    log:
        log_of("sample_frames"),
    benchmark:
        benchmark_of("sample_frames")
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        columns=columns("formula", "density_guess_g_cm3", "charges"),
        settings=sampling,
        start=lambda wildcards: None if wildcards.generation else model_of("finetune.start"),
        seed=seed("sample"),
    script:
        "../scripts/sample_frames.py"


rule label_frame:
    input:
        frames=rules.sample_frames.output.frames,
    output:
        **outputs("label_frame"),
    log:
        log_of("label_frame"),
    benchmark:
        benchmark_of("label_frame")
    conda:
        "../envs/dft.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,
        runtime=lambda wildcards, attempt: attempt * 60,
    params:
        settings=labelling(),
    script:
        "../scripts/label_frame.py"


rule prepare_dataset:
    input:
        labelled=labelled_frames,
    output:
        **outputs("prepare_dataset"),
    log:
        log_of("prepare_dataset"),
    benchmark:
        benchmark_of("prepare_dataset")
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        sources=source_contents,
        columns=all_columns("formula"),
        settings=settings(
            "dataset.compositions",
            "dataset.max_force_eV_A",
            "dataset.max_energy_deviation_eV_atom",
            "dataset.label_slope",
            "dataset.dispersion",
            "dataset.functional",
            "dataset.split.held_out",
            "dataset.split.validation_fraction",
        ),
        start=model_of("finetune.start"),
        seed=seed("dataset"),
    script:
        "../scripts/prepare_dataset.py"
