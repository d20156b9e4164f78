# Labelled DFT frames: what the configuration brings, plus frames sampled and labelled here.


rule sample_frames:
    input:
        unpack(previous_round),
    output:
        frames="<results>/{generation}dataset/sampled/{composition}.extxyz",
    log:
        "<results>/logs/{generation}sample_frames/{composition}.log",
    benchmark:
        "<results>/benchmarks/{generation}sample_frames/{composition}.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        composition=lambda wildcards: COMPOSITIONS[wildcards.composition],
        settings=sampling,
        start=CAMPAIGN.finetune.start,
        seed=seed("sample"),
    script:
        "../scripts/sample_frames.py"


rule label_frame:
    input:
        frames=rules.sample_frames.output.frames,
    output:
        frame="<results>/{generation}dataset/labelled/{composition}/{frame}.extxyz",
    log:
        "<results>/logs/{generation}label_frame/{composition}/{frame}.log",
    benchmark:
        "<results>/benchmarks/{generation}label_frame/{composition}/{frame}.tsv"
    conda:
        "../envs/dft.yaml"
    threads: 1
    resources:
        mem_mb=lambda wildcards, attempt: attempt * 2000,
        runtime=lambda wildcards, attempt: attempt * 60,
    params:
        settings=CAMPAIGN.dataset.label.model_dump(mode="json"),
    script:
        "../scripts/label_frame.py"


rule prepare_dataset:
    input:
        files=source_files(),
        labelled=labelled_frames,
    output:
        train="<results>/{generation}dataset/train.extxyz",
        val="<results>/{generation}dataset/val.extxyz",
        test="<results>/{generation}dataset/test.extxyz",
        table="<results>/{generation}dataset/dataset.parquet",
        alignment="<results>/{generation}dataset/alignment.json",
    log:
        "<results>/logs/{generation}prepare_dataset.log",
    benchmark:
        "<results>/benchmarks/{generation}prepare_dataset.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=settings("dataset"),
        sources=SOURCES,
        compositions=COMPOSITIONS,
        model=CAMPAIGN.finetune.start,
        seed=seed("dataset"),
    script:
        "../scripts/prepare_dataset.py"
