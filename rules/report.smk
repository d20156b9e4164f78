# The campaign's tables, figures and report.


rule summarize_campaign:
    input:
        trajectories=every_trajectory("transport", "trajectories.parquet"),
        modules=package_modules("statistics", "paper"),
    output:
        **{table: f"<results>/summary/{table}.parquet" for table in SUMMARY_TABLES},
    log:
        "<results>/logs/summarize_campaign.log",
    benchmark:
        "<results>/benchmarks/summarize_campaign.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        exclude_flagged=CAMPAIGN.report.exclude_flagged,
        provenance=provenance(),
    script:
        "../scripts/summarize_campaign.py"


rule plot_figure:
    input:
        summary=summary_tables(),
        potential=potential_tables(),
        thermo=glass_tables("thermo"),
        checks=glass_tables("glass_checks"),
        modules=package_modules("report"),
    output:
        svg=report(
            "<results>/report/figures/{figure}.svg",
            category=lambda wildcards: FIGURES[wildcards.figure].group,
            labels=lambda wildcards: {"figure": FIGURES[wildcards.figure].title},
            caption="../report/figure.rst",
        ),
        png="<results>/report/figures/{figure}.png",
        pdf="<results>/report/figures/{figure}.pdf",
    log:
        "<results>/logs/plot_figure/{figure}.log",
    benchmark:
        "<results>/benchmarks/plot_figure/{figure}.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        caption=lambda wildcards: FIGURES[wildcards.figure].caption,
    script:
        "../scripts/plot_figure.py"


rule build_report:
    input:
        figures=collect("<results>/report/figures/{figure}.svg", figure=FIGURES),
        summary=summary_tables(),
        potential=potential_tables(),
        card="<potential>/model.json",
        checks=glass_tables("glass_checks"),
        glasses=collect("<results>/quench/{composition}/r0/glass.extxyz", composition=COMPOSITIONS),
        modules=package_modules("report"),
    output:
        html=report(
            "<results>/report/index.html",
            category="Whole report",
            labels={"figure": "all figures, tables and the verdict in one page"},
            caption="../report/page.rst",
        ),
    log:
        "<results>/logs/build_report.log",
    benchmark:
        "<results>/benchmarks/build_report.tsv"
    conda:
        "../envs/vitrion.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    script:
        "../scripts/build_report.py"
