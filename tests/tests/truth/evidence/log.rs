//! The log that the program writes of what it made, used and gave back.

use super::range::Range;

/// One thing that it made.
#[derive(Clone, Debug)]
pub struct Life {
    /// The kind that a report must give
    pub kind: String,
    /// The function that made it
    pub function: String,
    /// Its descriptor, pid or whatever names it
    pub key: i64,
    /// When, in seconds since 1970
    pub made: Range,
    /// When it was given back
    pub ended: Option<Range>,
    /// When it was last used
    pub used: Used,
}

/// What the program knows of its uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Used {
    /// Not since it was made
    Never,
    /// Then
    At(f64),
    /// Nobody can tell
    Unknown,
}

impl Life {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let [
            "life",
            kind,
            function,
            key,
            made,
            made_after,
            ended,
            ended_after,
            used,
        ] = words[..]
        else {
            return None;
        };
        let seconds = |ns: &str| ns.parse::<i64>().expect("a time") as f64 / 1e9;
        Some(Self {
            kind: kind.into(),
            function: function.into(),
            key: key.parse().expect("a number"),
            made: Range::new(seconds(made), seconds(made_after)),
            ended: (ended != "0").then(|| Range::new(seconds(ended), seconds(ended_after))),
            used: match used {
                "0" => Used::Never,
                "-1" => Used::Unknown,
                at => Used::At(seconds(at)),
            },
        })
    }

    /// Whether it is still held.
    pub fn is_held(&self) -> bool {
        self.ended.is_none()
    }

    /// How long it lived.
    pub fn lived(&self) -> Option<Range> {
        Some(self.ended? - self.made)
    }
}

/// The whole log, as last written.
#[derive(Debug)]
pub struct Log(pub Vec<Life>);

impl Log {
    /// Reads the last one that the program wrote in full.
    pub fn of(said: &str) -> Self {
        let whole = said
            .rsplit_once("end\n")
            .expect("the program wrote its log")
            .0;
        let last = whole.rsplit_once("end\n").map_or(whole, |(_, last)| last);
        Self(last.lines().filter_map(Life::parse).collect())
    }

    /// Before it made anything.
    pub fn first(&self) -> f64 {
        let all = self.0.iter().map(|life| life.made.low);
        all.fold(f64::MAX, f64::min)
    }

    /// When it last made or gave back anything.
    pub fn last(&self) -> f64 {
        let all = self
            .0
            .iter()
            .map(|life| life.ended.unwrap_or(life.made).high);
        all.fold(f64::MIN, f64::max)
    }

    /// What one function made, without what the kernel removed.
    pub fn site(&self, function: &str) -> Vec<&Life> {
        let all = self.0.iter().filter(|life| life.kind != "removed");
        all.filter(|life| life.function == function).collect()
    }

    /// How many of it the kernel removed.
    pub fn removed(&self, function: &str) -> usize {
        let all = self.0.iter().filter(|life| life.kind == "removed");
        all.filter(|life| life.function == function).count()
    }

    /// What is held of a kind.
    pub fn held(&self, kind: &str) -> u64 {
        let all = self.0.iter();
        all.filter(|life| life.kind == kind && life.is_held())
            .count() as u64
    }
}
