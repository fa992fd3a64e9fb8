//! Documents for the snapshot tests, with all that can be in them.

use std::collections::BTreeMap;

use crate::model::*;

pub fn report() -> Report {
    Report {
        schema: Report::SCHEMA.into(),
        taken_at: "2026-03-01T12:00:00Z".parse().unwrap(),
        process: process(),
        coverage: Coverage {
            heap: HeapCoverage::Sampled,
            full_since: None,
            sample_bytes: Some(524_288),
            effective_rate: Some(0.0123),
            lost_events: Some(3),
            unknown_fds: Some(2),
            notes: vec!["The process uses io_uring, whose reads and closes no hook sees.".into()],
        },
        totals: totals(),
        memory: Some(memory()),
        overhead: Overhead::default(),
        health: health(),
        findings: vec![
            leak(),
            suspect(),
            early(Kind::Files, None),
            early(Kind::Memory, Some(70_000)),
            held(),
        ],
        bad_closes: vec![],
        caches: vec![],
        suppressed: vec![SuppressedRule {
            rule: "memguard.toml:3 (function=\"open_log\" ignore=true)".into(),
            count: 2,
            objects: 40,
        }],
        children: vec![],
        processes: vec![],
    }
}

pub fn process() -> Process {
    Process {
        pid: 4312,
        comm: Some("app".into()),
        cmdline: Some(vec![
            "/opt/app/bin/app".into(),
            "--port".into(),
            "8080".into(),
            "\u{1b}[31mred".into(),
        ]),
        started_at: Some("2026-03-01T06:48:00Z".parse().unwrap()),
        uptime_s: Some(18_720.0),
        mode: Some(Mode::Light),
        policy: Some(Policy::Light),
        alive: true,
        build_id: Some("ab12".into()),
        instrumented: true,
        library: true,
        replaced: false,
    }
}

fn totals() -> Totals {
    Totals {
        live_bytes: Some(44_040_192),
        rss_bytes: Some(61_000_000),
        open_fds: Some(143),
        fd_limit: Some(1024),
        sites: Some(312),
        since: None,
        held: vec![
            Held {
                kind: Kind::Files,
                count: 71,
                bytes: None,
                oldest_s: Some(18_000.0),
            },
            Held {
                kind: Kind::Sockets,
                count: 63,
                bytes: None,
                oldest_s: Some(17_000.0),
            },
            Held {
                kind: Kind::Memory,
                count: 12_345,
                bytes: Some(44_040_192),
                oldest_s: Some(18_720.0),
            },
        ],
        socket_states: BTreeMap::from([("CLOSE_WAIT".into(), 60), ("LISTEN".into(), 3)]),
    }
}

fn memory() -> Memory {
    let part = |name, bytes| MemoryPart { name, bytes };
    Memory {
        rss_bytes: 60_998_656,
        vm_rss_bytes: Some(61_000_000),
        swap_bytes: 1_048_576,
        parts: vec![
            part(PartName::LiveHeap, 44_040_192),
            part(PartName::AllocatorFree, 9_437_184),
            part(PartName::FilesPrivate, 5_242_880),
            part(PartName::Stacks, 2_228_224),
            part(PartName::Memguard, 50_176),
        ],
    }
}

fn health() -> Health {
    let part = |name: &str, score, reason: &str| HealthPart {
        name: name.into(),
        score,
        reason: reason.into(),
    };
    Health {
        score: Some(46),
        grade: Some("D".into()),
        reasons: vec![
            "leaks in 1 place, 1 more suspected".into(),
            "descriptors run out in 9 h".into(),
        ],
        parts: vec![
            part("verdicts", Some(46), "leaks in 1 place, 1 more suspected"),
            part("exhaustion", Some(58), "descriptors run out in 9 h"),
            part("overhead", None, "not estimated"),
            part("coverage", Some(98), "the heap by sample"),
        ],
    }
}

fn frame(function: &str, file: Option<(&str, u32)>, module: &str) -> Frame {
    Frame {
        function: Some(function.into()),
        file: file.map(|(file, _)| file.into()),
        line: file.map(|(_, line)| line),
        module: Some(module.into()),
        offset: Some(0x1234),
    }
}

fn stack() -> Vec<Frame> {
    let mut stack = vec![
        frame(
            "connect_upstream",
            Some(("/src/app/pool.c", 88)),
            "/opt/app/lib/libpool.so",
        ),
        frame(
            "std::map<int, std::vector<std::string>>::operator[](int const&)",
            None,
            "/opt/app/bin/app",
        ),
        Frame {
            module: Some("/opt/app/bin/app".into()),
            offset: Some(0xbeef),
            ..Frame::default()
        },
    ];
    stack.extend((0..7).map(|at| {
        frame(
            &format!("outer_{at}"),
            Some(("/src/app/main.c", 10 + at)),
            "/opt/app/bin/app",
        )
    }));
    stack
}

fn leak() -> Finding {
    let socket = |fd, age| Resource {
        fd: Some(fd),
        age_s: Some(age),
        idle_s: Some(age - 1.0),
        state: Some("CLOSE_WAIT".into()),
        local: Some("10.0.0.5:41000".into()),
        peer: Some("10.0.0.9:443".into()),
        path: None,
        ..Resource::default()
    };
    Finding {
        id: "sockets-00000000deadbeef".into(),
        kind: Kind::Sockets,
        verdict: Verdict::Leak,
        confidence: Some(1.0),
        count: 60,
        bytes: None,
        rate_per_hour: Some(144.0),
        exhaustion_s: Some(32_400.0),
        summary: "9\u{a0}940 of 10\u{a0}000 sockets from pool.c:88 (connect_upstream) were closed within 2.1 s; \
            60 others are 20 min to 5 h old: their peers have gone."
            .into(),
        evidence: vec!["Socket states: 60 in CLOSE_WAIT.".into()],
        labelled: false,
        ended_by_fix: false,
        labels: vec!["upstream pool".into()],
        stays: Some(Stays { share: 0.006, low: 0.004_664, high: 0.007_715 }),
        survival: vec![Survivors { age_s: 1.024, share: 0.01 }, Survivors { age_s: 2.896, share: 0.006 }],
        lifetimes: Some(Lifetimes { completed: 9940, p50_s: 0.1, p90_s: 0.4, p99_s: 1.2, longest_s: 2.1 }),
        stack: stack(),
        resources: (0..5).map(|at| socket(17 + at, 18_000.0 - f64::from(at))).collect(),
        fix: Fix::Eof,
        fixable: true,
        processes: vec![],
    }
}

fn suspect() -> Finding {
    Finding {
        id: "memory-0000000000000001".into(),
        kind: Kind::Memory,
        verdict: Verdict::Suspect,
        confidence: Some(0.49),
        count: 12_000,
        bytes: Some(40_000_000),
        exhaustion_s: None,
        summary: "None of the 80 sampled blocks from cache.c:9 was ever freed.".into(),
        evidence: vec![],
        labelled: false,
        ended_by_fix: false,
        labels: vec![],
        lifetimes: None,
        stays: None,
        survival: vec![],
        stack: stack()[1..3].to_vec(),
        resources: vec![],
        fix: Fix::None,
        fixable: false,
        ..leak()
    }
}

fn early(kind: Kind, bytes: Option<u64>) -> Finding {
    Finding {
        id: format!("{}-0000000000000002", kind.name()),
        kind,
        verdict: Verdict::Early,
        confidence: None,
        count: 2,
        bytes,
        rate_per_hour: None,
        summary: "2 of them are held, for up to 9 s; too early to judge, that takes 90 s.".into(),
        lifetimes: None,
        resources: vec![],
        stack: stack()[..1].to_vec(),
        ..suspect()
    }
}

fn held() -> Finding {
    Finding {
        id: "files-0000000000000003".into(),
        verdict: Verdict::Held,
        count: 111,
        summary: "111 files from pool.c:88 (connect_upstream) are held, for up to 5 h; no sign that more keep coming."
            .into(),
        ..early(Kind::Files, None)
    }
}

pub fn outside() -> Report {
    let mut report = report();
    report.process = Process {
        mode: None,
        policy: None,
        build_id: None,
        instrumented: false,
        library: false,
        replaced: false,
        ..report.process
    };
    report.coverage = Coverage {
        heap: HeapCoverage::None,
        full_since: None,
        sample_bytes: None,
        effective_rate: None,
        lost_events: None,
        unknown_fds: Some(143),
        notes: vec!["The process was started without memguard's library.".into()],
    };
    report.findings.clear();
    report.memory = None;
    report.health = Health {
        score: None,
        grade: None,
        reasons: vec!["memguard's library has no record of it".into()],
        ..report.health
    };
    report
}

pub fn list() -> List {
    let row = |pid, alive, verdict| ListRow {
        process: Process {
            pid,
            alive,
            replaced: pid == 78,
            ..process()
        },
        uid: Some(1000),
        rss_bytes: Some(61_000_000),
        live_bytes: Some(44_040_192),
        open_fds: Some(143),
        fd_limit: Some(1024),
        verdict,
        grade: verdict.map(|_| "D".into()),
    };
    List {
        schema: List::SCHEMA.into(),
        taken_at: "2026-03-01T12:00:00Z".parse().unwrap(),
        processes: vec![
            row(4312, true, Some(Verdict::Leak)),
            row(77, false, None),
            row(78, false, None),
        ],
        notes: vec!["Process 5: it cannot be read.".into()],
    }
}

pub fn fds() -> Fds {
    let row = FdRow {
        fd: 3,
        kind: Some(Kind::Files),
        what: "regular".into(),
        origin_known: true,
        ..FdRow::default()
    };
    let file = FdRow {
        path: Some("/var/log/a very/long path/to some/app.log, \"x\"".into()),
        age_s: Some(70.0),
        stack: stack(),
        inherited: Some(false),
        ..row.clone()
    };
    let socket = FdRow {
        fd: 17,
        kind: Some(Kind::Sockets),
        what: "tcp".into(),
        state: Some("CLOSE_WAIT".into()),
        local: Some("10.0.0.5:41000".into()),
        peer: Some("10.0.0.9:443".into()),
        age_s: Some(18_000.0),
        idle_s: Some(17_990.0),
        origin_known: false,
        ..row.clone()
    };
    let inherited = FdRow {
        fd: 0,
        what: "device".into(),
        path: Some("/dev/null".into()),
        inherited: Some(true),
        ..row
    };
    Fds {
        schema: Fds::SCHEMA.into(),
        taken_at: "2026-03-01T12:00:00Z".parse().unwrap(),
        process: process(),
        open_fds: Some(143),
        fd_limit: Some(1024),
        descriptors: vec![inherited, file, socket],
        notes: vec![],
    }
}

pub fn doctor() -> Doctor {
    let check = |name: &str, outcome, advice: Option<&str>| DoctorCheck {
        name: name.into(),
        outcome,
        detail: format!("What was seen of {name}."),
        advice: advice.map(Into::into),
    };
    Doctor {
        schema: Doctor::SCHEMA.into(),
        target: "/usr/bin/caddy".into(),
        summary: "Only the kernel's view of caddy is possible.".into(),
        checks: vec![
            check("loader", Outcome::Ok, None),
            check(
                "go",
                Outcome::Blocked,
                Some("Use Go's own profiler for its heap."),
            ),
            check(
                "seccomp",
                Outcome::Limited,
                Some("Start it under `memguard run`."),
            ),
        ],
    }
}

pub fn bad_closes() -> Vec<BadClose> {
    let frame = |function: &str, line| Frame {
        function: Some(function.into()),
        file: Some("/src/app/log.c".into()),
        line: Some(line),
        module: Some("/opt/app/bin/app".into()),
        offset: Some(4096),
    };
    let both = BadClose {
        fd: 7,
        at: "2026-03-01T11:59:00Z".parse().unwrap(),
        count: 3,
        stack: vec![frame("finish", 88), frame("main", 12)],
        closed_before: vec![frame("rotate", 40), frame("main", 10)],
        created: vec![frame("open_log", 20), frame("main", 9)],
    };
    let first = BadClose {
        count: 1,
        closed_before: vec![],
        created: vec![],
        ..both.clone()
    };
    vec![both, first]
}

/// A plan without anything in it.
pub fn fix() -> FixReport {
    FixReport {
        schema: FixReport::SCHEMA.to_owned(),
        taken_at: "2026-01-02T03:04:05Z".parse().expect("a time"),
        process: process(),
        dry_run: true,
        items: Vec::new(),
        limit: None,
        caches: Vec::new(),
        search: None,
        took: None,
        stopped: None,
        notes: Vec::new(),
    }
}
