//! What is said about a set of measurements: least, median, most, and how two of them compare.

/// Measurements in one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a measurement, which is a finite number.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The least; NaN if there is none.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The most; NaN if there is none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// The one in the middle, or the mean of the two there; NaN if there is none.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let half = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[half],
            _ => f64::midpoint(sorted[half - 1], sorted[half]),
        }
    }

    /// Half of what lies between the quartiles, in parts of the median; NaN if there is none. One round in four may be
    /// disturbed on either side without being seen in it.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        // Between two of them as far as the quartile lies.
        let quartile = |quarters: usize| {
            let position = sorted.len().saturating_sub(1) * quarters;
            let (lower, upper) = (sorted.get(position / 4), sorted.get(position.div_ceil(4)));
            let part = (position % 4) as f64 / 4.0;
            lower.zip(upper).map_or(f64::NAN, |(lower, upper)| lower + (upper - lower) * part)
        };
        (quartile(3) - quartile(1)) / 2.0 / self.median()
    }

    /// The mean of the logarithms' exponential, for ratios; NaN if there is none.
    #[must_use]
    pub fn geometric_mean(&self) -> f64 {
        let logarithms: f64 = self.0.iter().map(|value| value.ln()).sum();
        (logarithms / self.0.len() as f64).exp()
    }

    /// The median of the ratios of these to `others`, round by round: what disturbs a round disturbs
    /// both of its measurements, which their ratio survives.
    #[must_use]
    pub fn paired_ratio(&self, others: &Self) -> f64 {
        self.ratios(others).median()
    }

    fn ratios(&self, others: &Self) -> Self {
        self.0.iter().zip(&others.0).map(|(one, other)| one / other).collect()
    }

    /// What the median of the ratios of these to `others` lies between with at least 95 %, whatever their distribution: two of
    /// the ratios, as far from the middle as a fair coin's tosses would hardly be (the sign test's interval; Conover, Practical
    /// Nonparametric Statistics, 3.2). Infinite for fewer than six pairs.
    #[must_use]
    pub fn paired_ratio_interval(&self, others: &Self) -> (f64, f64) {
        let mut ratios = self.ratios(others).0;
        ratios.sort_by(f64::total_cmp);
        let count = ratios.len();
        // Of so many tosses none shows heads, then at most one, at most two, …
        let mut exactly = 0.5_f64.powi(count as i32);
        let (mut at_most, mut left_out) = (exactly, 0);
        while at_most <= 0.025 && 2 * left_out < count {
            left_out += 1;
            exactly *= (count - left_out + 1) as f64 / left_out as f64;
            at_most += exactly;
        }
        match left_out.checked_sub(1) {
            None => (f64::NEG_INFINITY, f64::INFINITY),
            Some(place) => (ratios[place], ratios[count - 1 - place]),
        }
    }
}

impl Samples {
    /// The mean of the ratios of these to `others`, pair by pair, and half the width of its 95 % interval (Student's t);
    /// infinite for fewer than two pairs.
    #[must_use]
    pub fn mean_ratio(&self, others: &Self) -> (f64, f64) {
        let Self(ratios) = self.ratios(others);
        let count = ratios.len() as f64;
        let mean = ratios.iter().sum::<f64>() / count;
        if ratios.len() < 2 {
            return (mean, f64::INFINITY);
        }
        let squares: f64 = ratios.iter().map(|ratio| (ratio - mean) * (ratio - mean)).sum();
        let freedom = ratios.len() - 1;
        // From the normal quantile (Cornish-Fisher, Abramowitz and Stegun 26.7.5), to 0.005; from a table below 5.
        let quantile = match freedom {
            1 => 12.706,
            2 => 4.303,
            3 => 3.182,
            4 => 2.776,
            more => {
                let n = more as f64;
                let z: f64 = 1.959_964;
                z + (z.powi(3) + z) / (4.0 * n)
                    + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
                    + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z)
                        / (384.0 * n.powi(3))
            }
        };
        (mean, quantile * (squares / freedom as f64 / count).sqrt())
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
        assert_eq!(samples(&[8.0, 10.0, 16.0]).spread(), 0.2);
        assert_eq!(samples(&[1000.0, 12.0, 10.0, 8.0, 1.0]).spread(), 0.2);
        assert_eq!(samples(&[10.0]).spread(), 0.0);
        assert!((samples(&[0.5, 2.0, 8.0]).geometric_mean() - 2.0).abs() < 1e-12);
        let none = Samples::default();
        assert!(
            none.spread().is_nan()
                && none.median().is_nan()
                && none.min().is_nan()
                && none.max().is_nan()
        );
    }

    /// Aim: the interval is Student's. Method: quantiles from a table, 2.571 for 5 degrees of freedom and 2.045 for 29.
    #[test]
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    fn means_have_an_interval() {
        let ones = |count| samples(&vec![1.0; count]);
        let (mean, half) = samples(&[1.0, 2.0]).mean_ratio(&ones(2));
        assert_eq!(mean, 1.5);
        assert!((half - 12.706 * 0.5).abs() < 1e-9);
        for (count, quantile) in [(6, 2.571), (30, 2.045)] {
            let halves: Vec<f64> = (0..count).map(|n| f64::from(n % 2)).collect();
            let (mean, half) = samples(&halves).mean_ratio(&ones(halves.len()));
            assert_eq!(mean, 0.5);
            let error = (0.25 / f64::from(count - 1)).sqrt();
            assert!((half / error - quantile).abs() < 0.005, "{count}: {}", half / error);
        }
        assert!(samples(&[3.0]).mean_ratio(&ones(1)).1.is_infinite());
    }

    /// Aim: the median's interval leaves out as many ratios as the table of the sign test says. Method: 5, 6, 10 and 60 pairs.
    #[test]
    fn medians_have_an_interval() {
        let interval = |count: i32| {
            let ratios: Vec<f64> = (1..=count).map(f64::from).collect();
            samples(&ratios).paired_ratio_interval(&samples(&vec![1.0; ratios.len()]))
        };
        assert_eq!(interval(5), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(interval(6), (1.0, 6.0));
        assert_eq!(interval(10), (2.0, 9.0));
        assert_eq!(interval(60), (22.0, 39.0));
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
