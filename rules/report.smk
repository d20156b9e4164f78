# The campaign's tables, figures and report.


rule summarize_campaign:
    input:
        trajectories=of_every_trajectory("analyze_trajectory", "trajectories"),
        measurements=of_every_glass("quench_glass", "measurements"),
        thermo=of_every_glass("quench_glass", "thermo"),
    output:
        **outputs("summarize_campaign"),
    log:
        log_of("summarize_campaign"),
    benchmark:
        benchmark_of("summarize_campaign")
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code("statistics", "paper", "trajectory"),
        columns=all_columns("mobile", "center", "density_guess_g_cm3", "coordination"),
        settings=settings("report.exclude_flagged"),
        limits=CAMPAIGN.quench.limits.model_dump(mode="json"),
    script:
        "../scripts/summarize_campaign.py"


rule plot_figure:
    input:
        summary=summary_tables(),
        potential=potential_tables(),
        thermo=of_every_glass("quench_glass", "thermo"),
        checks=of_every_glass("check_glass", "checks"),
    output:
        svg=report(
            outputs("plot_figure")["svg"],
            category=lambda wildcards: FIGURES[wildcards.figure].group,
            labels=lambda wildcards: {"figure": FIGURES[wildcards.figure].title},
            caption="../report/figure.rst",
        ),
        png=outputs("plot_figure")["png"],
        pdf=outputs("plot_figure")["pdf"],
    log:
        log_of("plot_figure"),
    benchmark:
        benchmark_of("plot_figure")
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code("report"),
        caption=lambda wildcards: FIGURES[wildcards.figure].caption,
    script:
        "../scripts/plot_figure.py"


rule build_report:
    input:
        figures=[outputs("plot_figure", figure=figure)["svg"] for figure in FIGURES],
        summary=summary_tables(),
        potential=potential_tables(),
        card="<potential>/model.json",
        checks=of_every_glass("check_glass", "checks"),
        glasses=of_every_glass("quench_glass", "glass"),
    output:
        html=report(
            outputs("build_report")["html"],
            category="Whole report",
            labels={"figure": "all figures, tables and the verdict in one page"},
            caption="../report/page.rst",
        ),
    log:
        log_of("build_report"),
    benchmark:
        benchmark_of("build_report")
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code("report"),
        captions={name: figure.caption for name, figure in FIGURES.items()},
    script:
        "../scripts/build_report.py"
