//! Time namespaces: a process in one sees the clocks since boot, and so its own
//! start, shifted. What it wrote down of itself is by its clocks; what we read
//! is by ours.

/// How far the clocks of a process are ahead of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClocksAhead {
    /// CLOCK_MONOTONIC
    pub monotonic_ns: i64,
    /// CLOCK_BOOTTIME, by which starts are counted
    pub boottime_ns: i64,
}

impl ClocksAhead {
    /// Of a process; of one that is gone, or on a kernel without such
    /// namespaces, nothing.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let text = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/timens_offsets"));
        let both = text(&pid.to_string()).ok().zip(text("self").ok());
        both.filter(|(its, ours)| its != ours)
            .map_or_else(Self::default, |(its, ours)| {
                let (its, ours) = (Self::parse(&its), Self::parse(&ours));
                Self {
                    monotonic_ns: its.monotonic_ns.saturating_sub(ours.monotonic_ns),
                    boottime_ns: its.boottime_ns.saturating_sub(ours.boottime_ns),
                }
            })
    }

    /// `monotonic   86400         0`, a clock a line, seconds and nanoseconds.
    fn parse(text: &str) -> Self {
        let clock = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let mut numbers = line.split_whitespace().map(str::parse::<i64>);
            let (seconds, ns) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
            seconds.checked_mul(1_000_000_000)?.checked_add(ns)
        };
        Self {
            monotonic_ns: clock("monotonic").unwrap_or(0),
            boottime_ns: clock("boottime").unwrap_or(0),
        }
    }

    /// Whether a start in ticks by its clock is this one by ours. Where the shift
    /// is no whole number of ticks, either neighbour may be meant.
    #[must_use]
    pub fn is_start(&self, its_ticks: u64, our_ticks: u64) -> bool {
        const TICK_NS: i64 = 10_000_000;
        let shifted = our_ticks.checked_add_signed(self.boottime_ns.div_euclid(TICK_NS));
        let between = self.boottime_ns.rem_euclid(TICK_NS) != 0;
        shifted.is_some_and(|ticks| {
            its_ticks == ticks || between && its_ticks == ticks.saturating_add(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_starts_shifted() {
        let text = "monotonic     86400         5\nboottime     -100 10000000\n";
        let clocks = ClocksAhead::parse(text);
        assert_eq!(clocks.monotonic_ns, 86_400_000_000_005);
        assert_eq!(clocks.boottime_ns, -99_990_000_000);
        assert!(clocks.is_start(10_001, 20_000) && !clocks.is_start(10_002, 20_000));
        assert!(!clocks.is_start(20_000, 20_000) && !clocks.is_start(1, 1));
        let odd = ClocksAhead {
            boottime_ns: 15_000_000,
            ..ClocksAhead::default()
        };
        assert!(odd.is_start(6, 5) && odd.is_start(7, 5) && !odd.is_start(8, 5));
        assert_eq!(ClocksAhead::parse("nothing"), ClocksAhead::default());
    }

    #[test]
    fn our_own_clocks_are_ours() {
        let own = std::process::id() as i32;
        assert_eq!(ClocksAhead::of(own), ClocksAhead::default());
        assert!(ClocksAhead::default().is_start(5, 5));
    }
}
