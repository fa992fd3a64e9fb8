//! What is really so: what the fixture says it keeps, and what the kernel
//! says is open.
//!
//! A fixture writes `kept <fd> <kind> <function>` for each descriptor that it
//! keeps, `gone <fd>` when it gives one back, `forget` before it lists anew,
//! and `-` for a kind or function that nobody can know.

use std::collections::BTreeMap;

use crate::facts::{Fd, Fds};
use crate::held::open_fds;

/// One descriptor that a fixture keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The kind that `memguard fds` must give, or `-`.
    pub kind: String,
    /// The function that created it, `inherited`, or `-`.
    pub function: String,
}

/// What a process keeps open.
#[derive(Clone, Debug)]
pub struct Truth {
    pid: u32,
    kept: BTreeMap<i32, Kept>,
}

impl Truth {
    /// Reads the lines of a fixture.
    #[track_caller]
    pub fn of(pid: u32, said: &str) -> Self {
        let mut kept = BTreeMap::new();
        for line in said.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["kept", fd, kind, function] => {
                    let one = Kept {
                        kind: kind.into(),
                        function: function.into(),
                    };
                    kept.insert(number(fd), one);
                }
                ["forget"] => kept.clear(),
                ["gone", fd] => drop(kept.remove(&number(fd))),
                _ => {}
            }
        }
        Self { pid, kept }
    }

    /// The descriptors kept.
    pub fn kept(&self) -> &BTreeMap<i32, Kept> {
        &self.kept
    }

    /// How many descriptors each function keeps.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for kept in self.kept.values() {
            *counts.entry(kept.function.clone()).or_default() += 1;
        }
        counts
    }

    /// Fails unless the kernel, the fixture and memguard agree about every
    /// descriptor above standard error.
    #[track_caller]
    pub fn assert_agrees(&self, fds: &Fds) {
        let kept: Vec<i32> = self.kept.keys().copied().collect();
        let open: Vec<i32> = open_fds(self.pid)
            .into_iter()
            .filter(|fd| *fd > 2)
            .collect();
        assert_eq!(kept, open, "the fixture and the kernel disagree");
        let known: Vec<i32> = fds.numbers().into_iter().filter(|fd| *fd > 2).collect();
        assert_eq!(known, open, "memguard and the kernel disagree");
        for (fd, truth) in &self.kept {
            let row = fds.get(*fd).expect("the numbers agree");
            truth.assert_is(&row);
        }
    }
}

impl Kept {
    #[track_caller]
    fn assert_is(&self, row: &Fd) {
        match self.function.as_str() {
            "-" => {}
            "inherited" => assert!(row.is_inherited(), "not inherited: {row:#?}"),
            function => assert!(row.created_in(function), "not from {function}: {row:#?}"),
        }
        if self.kind != "-" {
            assert_eq!(self.kind, row.kind(), "the kind of {row:#?}");
        }
    }
}

#[track_caller]
fn number(word: &str) -> i32 {
    word.parse()
        .unwrap_or_else(|_| panic!("no descriptor: {word}"))
}
