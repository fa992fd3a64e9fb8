//! The table of docs/DETECTION.md.

use super::patterns::{Health, PATTERNS, Pattern};
use super::run::{Setting, Shares, median_time_to_detect, simulate};
use super::site::Activity;

/// Prints it; `MEMGUARD_SIMULATED_RUNS` says how many runs.
pub fn print(half_an_hour: &[f64], three_hours: &[f64]) {
    let runs = std::env::var("MEMGUARD_SIMULATED_RUNS").ok();
    let runs = runs.and_then(|runs| runs.parse().ok()).unwrap_or(100);
    let first = Setting::first(runs);
    let settings = [
        (
            "30 min, first run",
            Setting {
                looks: half_an_hour,
                ..first
            },
        ),
        (
            "30 min, after one run of 3 h",
            Setting {
                looks: half_an_hour,
                learned: true,
                ..first
            },
        ),
        (
            "30 min, nothing tells of use",
            Setting {
                looks: half_an_hour,
                activity: Activity::Unknown,
                ..first
            },
        ),
        (
            "3 h, first run",
            Setting {
                looks: three_hours,
                runs: runs / 3,
                ..first
            },
        ),
    ];
    for (name, setting) in settings {
        println!(
            "\n**{name}**: {} runs a pattern, looks at {}\n",
            setting.runs,
            minutes(setting.looks)
        );
        println!(
            "| pattern | | leak | at the last look | growing | suspect | held | early |\n|---|---|---|---|---|---|---|---|"
        );
        for pattern in &PATTERNS {
            println!(
                "{}",
                row(pattern, &simulate(pattern, &setting), setting.runs)
            );
        }
    }
    println!(
        "\nA 10 % leak at 2 a second, `--min-age 5s`, asked every second: half of {runs} runs are found within {} s.",
        median_time_to_detect(5.0, runs)
    );
}

fn minutes(looks: &[f64]) -> String {
    let looks: Vec<String> = looks.iter().map(|look| (look / 60.0).to_string()).collect();
    format!("{} min", looks.join(", "))
}

fn row(pattern: &Pattern, shares: &Shares, runs: u64) -> String {
    let percent = |n: u64| match n {
        0 => "-".to_owned(),
        n => format!("{:.0} %", n as f64 * 100.0 / runs as f64),
    };
    let health = match pattern.kind {
        Health::Healthy => "healthy",
        Health::Adversarial => "adversarial",
        Health::Leaky => "leaky",
    };
    let all = [
        shares.leak,
        shares.at_last,
        shares.growing,
        shares.suspect,
        shares.held,
        shares.early,
    ]
    .map(percent);
    format!("| {} | {health} | {} |", pattern.name, all.join(" | "))
}
