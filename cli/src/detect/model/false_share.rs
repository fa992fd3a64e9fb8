//! Many sites are asked at once: the procedure of Benjamini and Hochberg
//! (1995, JRSS B 57:289) bounds the share of wrong verdicts among all.

/// Each chance, adjusted: at most `q` of the verdicts on what is adjusted to
/// `q` or less are expected to be wrong. NaN counts as 1.
#[must_use]
pub fn adjusted(chances: &[f64]) -> Vec<f64> {
    let sane = |chance: f64| {
        if chance.is_nan() {
            1.0
        } else {
            chance.clamp(0.0, 1.0)
        }
    };
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| sane(chances[*b]).total_cmp(&sane(chances[*a])));
    let all = chances.len() as f64;
    let (mut result, mut least) = (vec![1.0; chances.len()], 1.0_f64);
    for (from_worst, at) in order.into_iter().enumerate() {
        let rank = all - from_worst as f64;
        least = least.min(sane(chances[at]) * all / rank);
        result[at] = least;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_in_the_paper() {
        // Benjamini and Hochberg's own example: four of fifteen at 0.05.
        let chances = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let passed = adjusted(&chances).iter().filter(|p| **p <= 0.05).count();
        assert_eq!(passed, 4);
        assert!(adjusted(&[]).is_empty());
        assert_eq!(adjusted(&[f64::NAN, 0.01]), [1.0, 0.02]);
    }

    proptest! {
        #[test]
        fn order_does_not_matter(chances in proptest::collection::vec(0.0..1.0f64, 1..40), turn in 0..40usize) {
            let mut turned = chances.clone();
            turned.rotate_left(turn % chances.len());
            let mut expected = adjusted(&chances);
            expected.rotate_left(turn % chances.len());
            prop_assert_eq!(adjusted(&turned), expected);
        }

        #[test]
        fn nothing_gets_likelier(chances in proptest::collection::vec(0.0..1.0f64, 1..40)) {
            for (before, after) in chances.iter().zip(adjusted(&chances)) {
                prop_assert!(after >= *before * 0.999_999 && after <= 1.0);
            }
        }
    }
}
