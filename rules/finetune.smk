# The potential: CHGNet fine-tuned on the data set, or a model that is used unchanged.

if TRAINS:

    rule finetune_model:
        input:
            train=rules.prepare_dataset.output.train,
            val=rules.prepare_dataset.output.val,
        output:
            **outputs("finetune_model"),
        log:
            log_of("finetune_model"),
        benchmark:
            benchmark_of("finetune_model")
        conda:
            "../envs/vitrion.yaml"
        threads: CAMPAIGN.dynamics.threads
        resources:
            mem_mb=lambda wildcards, attempt: attempt * 8000,
            runtime=1440,
            gpu=MD_GPUS,
        params:
            start=model_of("finetune.start"),
            settings=settings(
                "finetune.angle_cutoff_A",
                "finetune.epochs",
                "finetune.patience",
                "finetune.batch_size",
                "finetune.replay",
                "finetune.optimizer",
                "finetune.learning_rate",
                "finetune.warmup_epochs",
                "finetune.gradient_clip",
                "finetune.ema_decay",
                "finetune.freeze",
                "finetune.loss.criterion",
                "finetune.loss.energy",
                "finetune.loss.force",
                "finetune.loss.stress",
            ),
            seed=seed("finetune"),
        script:
            "../scripts/finetune_model.py"

else:

    rule use_model:
        output:
            **outputs("use_model", generation=""),
        log:
            log_of("use_model", generation=""),
        benchmark:
            benchmark_of("use_model", generation="")
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            model=model_of("finetune.model"),
            start=model_of("finetune.start") if CAMPAIGN.finetune.model == "pretrained" else None,
        script:
            "../scripts/use_model.py"


rule evaluate_model:
    input:
        model=outputs("use_model")["model"],
        train=rules.prepare_dataset.output.train,
        val=rules.prepare_dataset.output.val,
        test=rules.prepare_dataset.output.test,
    output:
        **outputs("evaluate_model"),
    log:
        log_of("evaluate_model"),
    benchmark:
        benchmark_of("evaluate_model")
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=MD_GPUS,
    params:
        start=model_of("finetune.start"),
        compositions=list(COMPOSITIONS),
    script:
        "../scripts/evaluate_model.py"


# Dynamics waits for these measurements, which are judged at once. A limit that changes later judges
# them again (`judge_model`) and runs no dynamics.
rule validate_model:
    input:
        model="<potential>/model.safetensors",
        metrics="<potential>/model_metrics.parquet",
    output:
        **outputs("validate_model", generation=GENERATIONS[-1]),
    log:
        log_of("validate_model", generation=GENERATIONS[-1]),
    benchmark:
        benchmark_of("validate_model", generation=GENERATIONS[-1])
    conda:
        "../envs/vitrion.yaml"
    threads: CAMPAIGN.dynamics.threads
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=MD_GPUS,
    params:
        columns=all_columns("formula", "density_guess_g_cm3", "charges"),
        settings=settings("quench.melt_timestep_fs", "dynamics.thermostat_tau_fs"),
        seed=seed("validation"),
    script:
        "../scripts/validate_model.py"


rule judge_model:
    input:
        metrics="<potential>/model_metrics.parquet",
        stability=rules.validate_model.output.stability,
    output:
        **outputs("judge_model", generation=GENERATIONS[-1]),
    log:
        log_of("judge_model", generation=GENERATIONS[-1]),
    benchmark:
        benchmark_of("judge_model", generation=GENERATIONS[-1])
    localrule: True
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        limits=CAMPAIGN.finetune.validation.model_dump(mode="json"),
    script:
        "../scripts/judge_model.py"
