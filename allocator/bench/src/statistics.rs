//! What is said about a set of measurements: least, median, most, and how two of them compare.

/// Measurements in one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Appends a measurement, which is a finite number.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The least; NaN if there is none.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The most; NaN if there is none.
    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// The one in the middle, or the mean of the two there; NaN if there is none.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[half],
            _ => f64::midpoint(sorted[half - 1], sorted[half]),
        }
    }

    /// The median of the ratios of these to `others`, round by round: what disturbs a round disturbs
    /// both of its measurements, which their ratio survives.
    pub(crate) fn paired_ratio(&self, others: &Self) -> f64 {
        let ratios = self.0.iter().zip(&others.0).map(|(one, other)| one / other);
        Self(ratios.collect()).median()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "small whole numbers and halves are exact")]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    /// Aim: order statistics in any order of arrival. Method: odd, even, single and empty sets.
    #[test]
    fn order_statistics() {
        let odd = samples(&[5.0, 1.0, 9.0]);
        assert_eq!((odd.min(), odd.median(), odd.max()), (1.0, 5.0, 9.0));
        assert_eq!(samples(&[4.0, 1.0, 3.0, 100.0]).median(), 3.5);
        assert_eq!(samples(&[7.0]).median(), 7.0);
        let none = Samples::default();
        assert!(none.median().is_nan() && none.min().is_nan() && none.max().is_nan());
    }

    /// Aim: a disturbance that strikes whole rounds leaves the ratio alone. Method: rounds slowed down
    /// by various factors, of which the medians of the two sets would say something else.
    #[test]
    fn ratios_are_paired() {
        let one = samples(&[2.0, 20.0, 200.0, 6.0]);
        let other = samples(&[1.0, 10.0, 100.0, 6.0]);
        assert_eq!(one.paired_ratio(&other), 2.0);
        assert_eq!(other.paired_ratio(&one), 0.5);
    }
}
