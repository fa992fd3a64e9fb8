//! The lines below the findings that sum a report up: where the memory went,
//! how healthy it is, what rules hid.

use crate::model::{Finding, HealthPart, Report, SuppressedRule};
use crate::units::{bytes, count};

/// `60.0 MiB resident: 42.0 MiB live heap, 9.0 MiB free in the allocator ...`
pub fn memory(report: &Report) -> Vec<String> {
    let Some(memory) = &report.memory else {
        return Vec::new();
    };
    let mut parts: Vec<String> = memory
        .parts
        .iter()
        .map(|part| format!("{} {}", bytes(part.bytes), part.name.words()))
        .collect();
    if let Some(first) = parts.first_mut() {
        *first = format!("{} resident: {first}", bytes(memory.rss_bytes));
    }
    if memory.swap_bytes > 0 {
        parts.push(format!("and {} in swap", bytes(memory.swap_bytes)));
    }
    parts
}

/// `D, 46 of 100: verdicts 46 (leaks in 1 place), exhaustion 58 (...) ...`
pub fn health(report: &Report) -> Vec<String> {
    let health = &report.health;
    let grade = match (health.score, &health.grade) {
        (Some(score), Some(grade)) => format!("{grade}, {score} of 100: "),
        _ if health.reasons.is_empty() => return Vec::new(),
        _ => return vec![format!("unknown: {}", health.reasons.join("; "))],
    };
    let mut parts: Vec<String> = health.parts.iter().map(health_part).collect();
    if let Some(first) = parts.first_mut() {
        *first = grade + first;
    }
    parts
}

/// When a limit is hit that several places fill: sooner than any of them says.
pub fn together(report: &Report) -> Option<String> {
    let fillers = |takes_descriptor: bool| {
        let on_it = |one: &&Finding| one.kind.takes_descriptor() == takes_descriptor;
        let ends = report.findings.iter().filter(on_it);
        ends.filter(|one| one.exhaustion_s.is_some()).count()
    };
    if !report.process.alive || report.processes.len() > 1 || fillers(true).max(fillers(false)) < 2
    {
        return None;
    }
    let mut parts = report.health.parts.iter();
    let part = parts.find(|part| part.name == "exhaustion")?;
    Some(part.reason.clone())
}

fn health_part(part: &HealthPart) -> String {
    let score = part
        .score
        .map_or("unknown".to_owned(), |score| score.to_string());
    format!("{} {score} ({})", part.name, part.reason)
}

/// `by rules: memguard.toml:3 (ignore function=open_log) 2 findings, 40 objects`
pub fn hidden(report: &Report) -> Vec<String> {
    let mut parts: Vec<String> = report.suppressed.iter().map(suppressed).collect();
    if let Some(first) = parts.first_mut() {
        *first = format!("by rules: {first}");
    }
    parts
}

fn suppressed(rule: &SuppressedRule) -> String {
    let noun = if rule.count == 1 {
        "finding"
    } else {
        "findings"
    };
    let of_them = match rule.objects {
        0 => String::new(),
        1 => ", 1 object".to_owned(),
        n => format!(", {} objects", count(n)),
    };
    format!("{} {noun}{of_them} by {}", count(rule.count), rule.rule)
}

/// Each cache that the program has registered, with its size.
pub fn caches(report: &Report) -> Vec<String> {
    let each = report.caches.iter().map(|cache| {
        let size = cache.size_bytes.map(bytes);
        let size = size.unwrap_or_else(|| "of unknown size".to_owned());
        format!("{} {size}", cache.name)
    });
    each.collect()
}
