//! CSV by RFC 4180, with a head line.

use super::safe::safe;
use super::{Render, line};
use crate::error::OutputError;
use crate::model::{Doctor, Fds, Finding, FixReport, Frame, Labels, Learned, List, Report, Undo};

/// The CSV writer.
#[derive(Debug, Clone, Copy)]
pub struct Csv;

impl Render for Csv {
    fn report(&self, report: &Report) -> Result<String, OutputError> {
        let mut out = String::new();
        line(
            &mut out,
            format_args!(
                "pid,id,kind,verdict,confidence,count,bytes,rate_per_hour,exhaustion_s,function,file,line,summary"
            ),
        );
        for report in std::iter::once(report).chain(&report.children) {
            for finding in &report.findings {
                let top = finding.stack.first().cloned().unwrap_or_default();
                let cells = [
                    pids(report, finding),
                    finding.id.clone(),
                    finding.kind.name().to_owned(),
                    finding.verdict.name().to_owned(),
                    text(finding.confidence),
                    finding.count.to_string(),
                    text(finding.bytes),
                    text(finding.rate_per_hour),
                    text(finding.exhaustion_s),
                    text(top.function),
                    text(top.file),
                    text(top.line),
                    finding.summary.clone(),
                ];
                row(&mut out, &cells);
            }
        }
        Ok(out)
    }

    fn list(&self, list: &List) -> Result<String, OutputError> {
        let mut out = String::new();
        line(
            &mut out,
            format_args!(
                "pid,name,alive,mode,rss_bytes,live_bytes,open_fds,fd_limit,verdict,grade,replaced"
            ),
        );
        for process in &list.processes {
            let cells = [
                process.process.pid.to_string(),
                process.process.name().to_owned(),
                process.process.alive.to_string(),
                text(process.process.mode.map(|mode| mode.name())),
                text(process.rss_bytes),
                text(process.live_bytes),
                text(process.open_fds),
                text(process.fd_limit),
                text(process.verdict.map(|verdict| verdict.name())),
                text(process.grade.clone()),
                process.process.replaced.to_string(),
            ];
            row(&mut out, &cells);
        }
        Ok(out)
    }

    fn fds(&self, fds: &Fds) -> Result<String, OutputError> {
        let mut out = String::new();
        line(
            &mut out,
            format_args!(
                "fd,kind,what,age_s,idle_s,state,local,peer,path,inherited,origin_known,function,file,line"
            ),
        );
        for open in &fds.descriptors {
            let top: Frame = open.creator().cloned().unwrap_or_default();
            let cells = [
                open.fd.to_string(),
                text(open.kind.map(|kind| kind.name())),
                open.what.clone(),
                text(open.age_s),
                text(open.idle_s),
                text(open.state.as_deref()),
                text(open.local.as_deref()),
                text(open.peer.as_deref()),
                text(open.path.as_deref()),
                text(open.inherited),
                open.origin_known.to_string(),
                text(top.function),
                text(top.file),
                text(top.line),
            ];
            row(&mut out, &cells);
        }
        Ok(out)
    }

    fn fix(&self, _: &FixReport) -> Result<String, OutputError> {
        Err(OutputError::NoSuchFormat {
            format: "csv",
            verb: "fix",
            instead: "text or json",
        })
    }

    fn undo(&self, _: &Undo) -> Result<String, OutputError> {
        Err(OutputError::NoSuchFormat {
            format: "csv",
            verb: "undo",
            instead: "text or json",
        })
    }

    fn doctor(&self, _: &Doctor) -> Result<String, OutputError> {
        Err(OutputError::NoSuchFormat {
            format: "csv",
            verb: "doctor",
            instead: "text or json",
        })
    }

    fn learned(&self, _: &Learned) -> Result<String, OutputError> {
        Err(OutputError::NoSuchFormat {
            format: "csv",
            verb: "learn",
            instead: "text or json",
        })
    }

    fn labels(&self, _: &Labels) -> Result<String, OutputError> {
        Err(OutputError::NoSuchFormat {
            format: "csv",
            verb: "label",
            instead: "text or json",
        })
    }
}

/// Those that hold it, separated by blanks.
fn pids(report: &Report, finding: &Finding) -> String {
    let pids: Vec<String> = finding
        .processes
        .iter()
        .map(|share| share.pid.to_string())
        .collect();
    if pids.is_empty() {
        report.process.pid.to_string()
    } else {
        pids.join(" ")
    }
}

/// Unknown is an empty cell.
fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn row(out: &mut String, cells: &[String]) {
    let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
    line(out, format_args!("{}", quoted.join(",")));
}

fn quote(cell: &str) -> String {
    // A leading sign would make spreadsheets run it as a formula.
    let formula = cell.starts_with(['=', '+', '@', '-']) && cell.parse::<f64>().is_err();
    let cell = if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    // On a screen an escape would be obeyed, in a file it would be taken out.
    let cell = safe(&cell);
    if cell.contains(['"', ',']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        assert_eq!(quote("plain"), "plain");
        assert_eq!(quote("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quote("=cmd()"), "'=cmd()");
        assert_eq!(quote("a\u{1b}[2J\nb,"), "\"a\\u{1b}[2J\\nb,\"");
        assert_eq!(quote("-4.5"), "-4.5");
    }
}
