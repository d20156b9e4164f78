# Labelled DFT frames: what the configuration brings, plus frames sampled and labelled here.


rule sample_frames:
    output:
        frames="<results>/dataset/sampled/{composition}.extxyz",
    log:
        "<results>/logs/sample_frames/{composition}.log",
    benchmark:
        "<results>/benchmarks/sample_frames/{composition}.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        composition=lambda wildcards: COMPOSITIONS[wildcards.composition],
        settings=CAMPAIGN.dataset.sample.model_dump(mode="json"),
        model=CAMPAIGN.finetune.start,
        seed=seed("sample"),
    script:
        "../scripts/sample_frames.py"


rule label_frame:
    input:
        frames=rules.sample_frames.output.frames,
    output:
        frame="<results>/dataset/labelled/{composition}/{frame}.extxyz",
    log:
        "<results>/logs/label_frame/{composition}/{frame}.log",
    benchmark:
        "<results>/benchmarks/label_frame/{composition}/{frame}.tsv"
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
        labelled=labelled_frames(),
    output:
        train="<results>/dataset/train.extxyz",
        val="<results>/dataset/val.extxyz",
        test="<results>/dataset/test.extxyz",
        table="<results>/dataset/dataset.parquet",
        alignment="<results>/dataset/alignment.json",
    log:
        "<results>/logs/prepare_dataset.log",
    benchmark:
        "<results>/benchmarks/prepare_dataset.tsv"
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
