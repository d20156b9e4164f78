# One glass for every composition and replica: pack, melt, quench, anneal and measure, or one of a
# library. Limits judge the stored measurements, so that a changed limit runs no dynamics.


if CAMPAIGN.quench.from_library:

    rule take_glass:
        input:
            card="<potential>/model.json",
            validated=validation(),
        output:
            **outputs("take_glass"),
        log:
            log_of("take_glass"),
        benchmark:
            benchmark_of("take_glass")
        localrule: True
        conda:
            "../envs/vitrion.yaml"
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            columns=columns("formula"),
            settings=settings("formula_units"),
            glass=lambda wildcards: library_contents(CAMPAIGN.quench.from_library, *wildcards),
        script:
            "../scripts/take_glass.py"

else:

    rule quench_glass:
        input:
            model="<potential>/model.safetensors",
            validated=validation(),
        output:
            **outputs("quench_glass"),
        log:
            log_of("quench_glass"),
        benchmark:
            benchmark_of("quench_glass")
        conda:
            "../envs/vitrion.yaml"
        threads: CAMPAIGN.dynamics.threads
        resources:
            mem_mb=md_mem_mb,
            runtime=1440,
            gpu=MD_GPUS,
        params:
            columns=columns("formula", "density_guess_g_cm3", "charges"),
            settings=settings(
                "formula_units",
                "quench.packing_density",
                "quench.melt_timestep_fs",
                "quench.melt_temperature_K",
                "quench.melt_ps",
                "quench.quench_rate_K_ps",
                "quench.constant_pressure_below_K",
                "quench.glass_temperature_K",
                "quench.anneal_ps",
                "dynamics.thermostat_tau_fs",
                "dynamics.barostat_tau_fs",
                "dynamics.compressibility_1_GPa",
                "dynamics.pressure_GPa",
                "dynamics.sample_interval_ps",
            ),
            seed=seed("quench"),
        script:
            "../scripts/quench_glass.py"


rule check_glass:
    input:
        measurements=outputs("quench_glass")["measurements"],
    output:
        **outputs("check_glass"),
    log:
        log_of("check_glass"),
    benchmark:
        benchmark_of("check_glass")
    localrule: True
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("trajectory"),
        columns=columns("mobile", "center", "density_guess_g_cm3", "coordination"),
        limits=CAMPAIGN.quench.limits.model_dump(mode="json"),
    script:
        "../scripts/check_glass.py"


# Only for the command line: the glasses and their checks, and nothing after them.
rule quench_glasses:
    input:
        of_every_glass("check_glass", "checks"),
    localrule: True
