# The potential: CHGNet fine-tuned on the data set, or a model taken as it is.

if CAMPAIGN.finetune.model == "train":

    rule finetune_model:
        input:
            train=rules.prepare_dataset.output.train,
            val=rules.prepare_dataset.output.val,
        output:
            model="<results>/finetune/model.safetensors",
            card="<results>/finetune/model.json",
            learning="<results>/finetune/learning.parquet",
        log:
            "<results>/logs/finetune_model.log",
        benchmark:
            "<results>/benchmarks/finetune_model.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: CAMPAIGN.dynamics.threads
        resources:
            mem_mb=lambda wildcards, attempt: attempt * 8000,
            runtime=1440,
            gpu=MD_GPUS,
        params:
            settings=settings("finetune"),
            split=CAMPAIGN.dataset.split.model_dump(mode="json"),
            seed=seed("finetune"),
            device=CAMPAIGN.dynamics.device,
        script:
            "../scripts/finetune_model.py"

else:

    rule adopt_model:
        output:
            model="<results>/finetune/model.safetensors",
            card="<results>/finetune/model.json",
        log:
            "<results>/logs/adopt_model.log",
        benchmark:
            "<results>/benchmarks/adopt_model.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            settings=settings("finetune"),
        script:
            "../scripts/adopt_model.py"


rule evaluate_model:
    input:
        model="<results>/finetune/model.safetensors",
        train=rules.prepare_dataset.output.train,
        val=rules.prepare_dataset.output.val,
        test=rules.prepare_dataset.output.test,
    output:
        metrics="<results>/finetune/model_metrics.parquet",
        parity="<results>/finetune/parity.parquet",
    log:
        "<results>/logs/evaluate_model.log",
    benchmark:
        "<results>/benchmarks/evaluate_model.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=MD_GPUS,
    params:
        start=CAMPAIGN.finetune.start,
        device=CAMPAIGN.dynamics.device,
    script:
        "../scripts/evaluate_model.py"


rule accept_model:
    input:
        model="<results>/finetune/model.safetensors",
        metrics=rules.evaluate_model.output.metrics,
    output:
        acceptance="<results>/finetune/acceptance.parquet",
        hot_md="<results>/finetune/hot_md.parquet",
    log:
        "<results>/logs/accept_model.log",
    benchmark:
        "<results>/benchmarks/accept_model.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=MD_GPUS,
    params:
        compositions=COMPOSITIONS,
        settings=CAMPAIGN.finetune.accept.model_dump(mode="json"),
        dynamics=settings("dynamics"),
        seed=seed("accept"),
    script:
        "../scripts/accept_model.py"
