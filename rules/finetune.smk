# The potential: CHGNet fine-tuned on the data set, or a model taken as it is.

if CAMPAIGN.finetune.model == "train":

    rule finetune_model:
        input:
            train=rules.prepare_dataset.output.train,
            val=rules.prepare_dataset.output.val,
        output:
            model="<results>/{generation}finetune/model.safetensors",
            card="<results>/{generation}finetune/model.json",
            learning="<results>/{generation}finetune/learning.parquet",
        log:
            "<results>/logs/{generation}finetune_model.log",
        benchmark:
            "<results>/benchmarks/{generation}finetune_model.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: CAMPAIGN.dynamics.threads
        resources:
            mem_mb=lambda wildcards, attempt: attempt * 8000,
            runtime=1440,
            gpu=MD_GPUS,
        params:
            settings=CAMPAIGN.finetune.model_dump(mode="json", exclude={"validation", "iterate"}),
            split=CAMPAIGN.dataset.split.model_dump(mode="json"),
            seed=seed("finetune"),
            device=CAMPAIGN.dynamics.device,
        script:
            "../scripts/finetune_model.py"

else:

    rule use_model:
        output:
            model="<potential>/model.safetensors",
            card="<potential>/model.json",
        log:
            "<results>/logs/use_model.log",
        benchmark:
            "<results>/benchmarks/use_model.tsv"
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            settings=settings("finetune"),
        script:
            "../scripts/use_model.py"


rule evaluate_model:
    input:
        model="<results>/{generation}finetune/model.safetensors",
        train=rules.prepare_dataset.output.train,
        val=rules.prepare_dataset.output.val,
        test=rules.prepare_dataset.output.test,
    output:
        metrics="<results>/{generation}finetune/model_metrics.parquet",
        elements="<results>/{generation}finetune/element_metrics.parquet",
        frames="<results>/{generation}finetune/frame_errors.parquet",
        parity="<results>/{generation}finetune/parity.parquet",
    log:
        "<results>/logs/{generation}evaluate_model.log",
    benchmark:
        "<results>/benchmarks/{generation}evaluate_model.tsv"
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


rule validate_model:
    input:
        model="<potential>/model.safetensors",
        metrics="<potential>/model_metrics.parquet",
    output:
        validation="<potential>/validation.parquet",
        stability="<potential>/stability.parquet",
    log:
        "<results>/logs/validate_model.log",
    benchmark:
        "<results>/benchmarks/validate_model.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=MD_GPUS,
    params:
        compositions=COMPOSITIONS,
        settings=CAMPAIGN.finetune.validation.model_dump(mode="json"),
        dynamics=settings("dynamics"),
        seed=seed("validation"),
    script:
        "../scripts/validate_model.py"
