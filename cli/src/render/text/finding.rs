//! One finding in full: what, how sure, the sentence, the calls, a few of the
//! objects.

use super::super::Layout;
use super::report::{INDENT, faint};
use super::style::{FAINT, STRONG, of, paint};
use super::wrap::{cut, cut_front, width, wrap};
use crate::model::{Finding, Frame, Resource, Verdict};
use crate::render::line;
use crate::render::safe::safe;
use crate::units::{bytes, count, span};

/// Calls shown of a stack, unless all is asked for.
const CALLS: usize = 8;
/// Objects shown of a finding.
const EXAMPLES: usize = 3;

/// One finding with all that belongs to it.
pub fn full(out: &mut String, finding: &Finding, place: &str, layout: Layout) {
    let style = of(finding.verdict);
    let name = finding.verdict.name().to_uppercase();
    let label = paint(style, format!("{name:<width$}", width = INDENT - 1));
    let sure = certainty(finding)
        .map(|sure| format!(", {sure}"))
        .unwrap_or_default();
    let what = what(finding) + &sure;
    let room = layout.width.saturating_sub(INDENT + 2 + width(&what));
    let place = cut(&safe(place), room);
    line(
        out,
        format_args!("{label} {}  {place}", paint(STRONG, what)),
    );
    out.push_str(&wrap(&safe(&finding.summary), INDENT, layout.width));
    if !finding.labels.is_empty() {
        let labels = format!("Label: {}.", finding.labels.join(", "));
        out.push_str(&wrap(&safe(&labels), INDENT, layout.width));
    }
    for fact in &finding.evidence {
        out.push_str(&faint(&wrap(&safe(fact), INDENT + 2, layout.width)));
    }
    if finding.verdict < Verdict::Early {
        out.push_str(&faint(&wrap(&finding.id, INDENT + 2, layout.width)));
    }
    stack(out, &finding.stack, layout);
    examples(out, finding, layout);
}

/// `60 sockets` or `4.2 MiB in 1 200 blocks`
fn what(finding: &Finding) -> String {
    let number = format!(
        "{} {}",
        count(finding.count),
        finding.kind.noun(finding.count)
    );
    finding.bytes.map_or(number.clone(), |held| {
        format!("{} in {number}", bytes(held))
    })
}

fn certainty(finding: &Finding) -> Option<String> {
    let sure = finding.confidence?;
    Some(if finding.labelled {
        "labelled a leak".to_owned()
    } else if sure >= 1.0 {
        "proven".to_owned()
    } else {
        format!("{:.0} % sure", sure * 100.0)
    })
}

/// The calls of a stack.
pub fn stack(out: &mut String, stack: &[Frame], layout: Layout) {
    let shown = if layout.all {
        stack.len()
    } else {
        CALLS.min(stack.len())
    };
    let names: Vec<String> = stack[..shown].iter().map(function).collect();
    let widest = names
        .iter()
        .map(|name| width(name))
        .max()
        .unwrap_or(0)
        .min(layout.width / 2);
    for (frame, name) in stack.iter().zip(&names) {
        let name = cut(name, widest);
        let pad = " ".repeat(widest - width(&name));
        let room = layout.width.saturating_sub(INDENT + 4 + widest);
        let at = paint(FAINT, cut_front(&location(frame), room));
        line(out, format_args!("{:INDENT$}  {name}{pad}  {at}", ""));
    }
    if stack.len() > shown {
        let more = format!("… {} more calls (--all)", stack.len() - shown);
        remark(out, more);
    }
}

/// A remark under a list.
fn remark(out: &mut String, text: String) {
    line(out, format_args!("{:INDENT$}  {}", "", paint(FAINT, text)));
}

fn unused(open: &Resource) -> &'static str {
    if open.peer.is_some() {
        "no data"
    } else {
        "not used"
    }
}

fn function(frame: &Frame) -> String {
    let unknown = || format!("{:#x}", frame.offset.unwrap_or(0));
    frame
        .function
        .as_deref()
        .map_or_else(unknown, |name| safe(name).into_owned())
}

fn location(frame: &Frame) -> String {
    let place = match (&frame.file, frame.line, &frame.module) {
        (Some(file), Some(line), _) => format!("{file}:{line}"),
        (_, _, Some(module)) => module.clone(),
        _ => String::new(),
    };
    safe(&place).into_owned()
}

fn examples(out: &mut String, finding: &Finding, layout: Layout) {
    let shown = if layout.all {
        finding.resources.len()
    } else {
        EXAMPLES.min(finding.resources.len())
    };
    for open in &finding.resources[..shown] {
        let mut words: Vec<String> = open
            .pid
            .map(|pid| format!("pid {pid}"))
            .into_iter()
            .collect();
        words.extend(open.fd.map(|fd| format!("fd {fd}")));
        words.extend(open.what.clone());
        words.extend(open.state.clone().filter(|_| open.what.is_none()));
        words.extend(open.path.clone());
        words.extend(
            open.local
                .as_ref()
                .filter(|_| open.path.is_none())
                .map(|local| match &open.peer {
                    Some(peer) => format!("{local} -> {peer}"),
                    None => local.clone(),
                }),
        );
        words.extend(
            open.held_bytes
                .filter(|_| open.deleted == Some(true))
                .map(|held| format!("holds {} of disk", bytes(held))),
        );
        words.extend(
            open.timer
                .filter(|timer| timer.unread_ticks > 0)
                .map(|timer| format!("{} unread", count(timer.unread_ticks))),
        );
        words.extend(open.age_s.map(|age| format!("{} old", span(age))));
        words.extend(
            open.idle_s
                .map(|idle| format!("{} for {}", unused(open), span(idle))),
        );
        line(
            out,
            format_args!(
                "{:INDENT$}  {}",
                "",
                cut(&safe(&words.join(", ")), layout.width - INDENT - 2)
            ),
        );
    }
    if finding.resources.len() > shown {
        remark(
            out,
            format!(
                "… and {} more",
                count((finding.resources.len() - shown) as u64)
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_not_called_a_proof() {
        let mut finding = crate::render::samples::report().findings.remove(0);
        finding.confidence = Some(1.0);
        assert_eq!(certainty(&finding).unwrap(), "proven");
        finding.labelled = true;
        assert_eq!(certainty(&finding).unwrap(), "labelled a leak");
    }
}
