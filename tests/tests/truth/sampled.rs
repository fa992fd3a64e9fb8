//! Sampled totals are unbiased: over many runs, the estimated live bytes lie
//! within three standard errors of the truth, and that error is at most 2 %.
//!
//! Guards: exponential draws, the weight of a sample, and the removal of each
//! sampled block. A wrong weight of large blocks alone shifts the total by
//! more than that.

use memguard_tests::{Program, compile};

/// Sums over many runs of one program.
#[derive(Debug, Default)]
struct Sums {
    truth: f64,
    estimate: f64,
    variance: f64,
}

impl Sums {
    /// Standard errors between the estimate and the truth.
    fn off_by(&self) -> f64 {
        (self.estimate - self.truth) / self.variance.sqrt()
    }

    fn add_run(&mut self, program: Program, seed: u32, how: [&str; 2]) {
        let held = program.arg(seed.to_string()).arg(how[0]).arg(how[1]).hold();
        self.truth += held.value("truth") as f64;
        self.variance += (held.value("error") as f64).powi(2);
        self.estimate += held.report().live_bytes();
        held.finish_ok();
    }
}

/// A right estimate is further off than three standard errors once in 370
/// times. Then as many runs again decide: a wrong one only gets worse.
fn assert_unbiased(program: &Program, how: [&str; 2], runs: u32) {
    let mut sums = Sums::default();
    for seed in 0..runs {
        sums.add_run(program.clone(), seed, how);
    }
    if sums.off_by().abs() > 3.0 {
        for seed in runs..2 * runs {
            sums.add_run(program.clone(), seed, how);
        }
    }
    let share = sums.variance.sqrt() / sums.truth;
    assert!(
        share <= 0.02,
        "too few runs: the standard error is {share:.3} of the truth"
    );
    assert!(
        sums.off_by().abs() <= 3.0,
        "{:.1} standard errors off: {sums:?}",
        sums.off_by()
    );
}

fn fixture() -> Program {
    Program::at(compile::program_with("sampled", &["-lm"]))
}

#[test]
fn by_bytes_as_started() {
    assert_unbiased(&fixture(), ["bytes", "524288"], 36);
}

#[test]
fn by_bytes_more_often() {
    let program = fixture().env("MEMGUARD_SAMPLE_BYTES", "65536");
    assert_unbiased(&program, ["bytes", "65536"], 12);
}

#[test]
fn by_rate() {
    let program = fixture().env("MEMGUARD_LIGHT_SAMPLE_RATE", "0.05");
    assert_unbiased(&program, ["rate", "0.05"], 30);
}

#[test]
fn the_effective_rate_is_the_one_asked_for() {
    let program = fixture().env("MEMGUARD_LIGHT_SAMPLE_RATE", "0.01");
    let held = program.arg("1").arg("rate").arg("0.01").hold();
    let rate = held.report().value["coverage"]["effective_rate"].as_f64();
    let rate = rate.expect("the report tells its effective rate");
    assert!((rate - 0.01).abs() <= 0.001, "{rate}");
    held.finish_ok();
}
