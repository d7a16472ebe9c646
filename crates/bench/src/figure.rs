//! Figures and their samples.

/// What a figure counts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Seconds,
    /// 2^20 bytes.
    Mebibytes,
    /// 10^6 bytes.
    Megabytes,
    /// Of one core.
    Percent,
}

impl Unit {
    /// The short name.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "s",
            Unit::Mebibytes => "MiB",
            Unit::Megabytes => "MB",
            Unit::Percent => "%",
        }
    }

    /// A value for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value < 0.001 => format!("{:.0} µs", value * 1e6),
            Unit::Seconds if value < 0.1 => format!("{:.1} ms", value * 1e3),
            Unit::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Percent => format!("{value:.2} %"),
            _ => format!("{value:.1} {}", self.name()),
        }
    }
}

/// Measured values, at least one.
#[derive(Clone, Debug)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// From values in any order; `None` where there are none.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Option<Samples> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        (!values.is_empty()).then_some(Samples(values))
    }

    /// One value.
    pub fn one(value: f64) -> Samples {
        Samples(vec![value])
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that so many percent of the values do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).clamp(1, self.0.len());
        self.0[rank - 1]
    }

    pub fn p50(&self) -> f64 {
        self.percentile(50)
    }

    pub fn p99(&self) -> f64 {
        self.percentile(99)
    }

    pub fn max(&self) -> f64 {
        self.percentile(100)
    }
}

/// What a figure should not exceed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Aim {
    /// There is none: the figure is told along with another.
    None,
    P50(f64),
    P99(f64),
    P50AndP99(f64, f64),
}

impl Aim {
    /// Whether the samples meet it; `None` without an aim.
    pub fn met(self, seen: &Samples) -> Option<bool> {
        match self {
            Aim::None => None,
            Aim::P50(p50) => Some(seen.p50() <= p50),
            Aim::P99(p99) => Some(seen.p99() <= p99),
            Aim::P50AndP99(p50, p99) => Some(seen.p50() <= p50 && seen.p99() <= p99),
        }
    }

    /// For people.
    pub fn show(self, unit: Unit) -> String {
        match self {
            Aim::None => "–".into(),
            Aim::P50(p50) => format!("≤ {}", unit.show(p50)),
            Aim::P99(p99) => format!("p99 ≤ {}", unit.show(p99)),
            Aim::P50AndP99(p50, p99) => format!("≤ {} / {}", unit.show(p50), unit.show(p99)),
        }
    }
}

/// A figure, and what it stands beside: a peer, or what the machine does without us.
pub struct Figure {
    pub name: String,
    pub unit: Unit,
    pub seen: Samples,
    pub aim: Aim,
    pub beside: Vec<(String, Samples)>,
}

impl Figure {
    /// A figure with nothing beside it yet.
    pub fn new(name: impl Into<String>, unit: Unit, seen: Samples, aim: Aim) -> Figure {
        Figure { name: name.into(), unit, seen, aim, beside: Vec::new() }
    }

    /// Puts something in the same unit beside it.
    pub fn beside(mut self, name: impl Into<String>, samples: Option<Samples>) -> Figure {
        self.beside.extend(samples.map(|s| (name.into(), s)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let s = Samples::new((1..=100).rev().map(f64::from)).unwrap();
        assert_eq!((s.p50(), s.p99(), s.max(), s.count()), (50.0, 99.0, 100.0, 100));
        let s = Samples::new([3.0, 1.0]).unwrap();
        assert_eq!((s.p50(), s.p99()), (1.0, 3.0));
        assert_eq!(Samples::one(2.0).p50(), 2.0);
        assert!(Samples::new([]).is_none());
    }

    #[test]
    fn aims_look_at_their_percentile() {
        let s = Samples::new([1.0, 2.0, 9.0]).unwrap();
        assert_eq!(Aim::P50(2.0).met(&s), Some(true));
        assert_eq!(Aim::P99(2.0).met(&s), Some(false));
        assert_eq!(Aim::P50AndP99(2.0, 9.0).met(&s), Some(true));
        assert_eq!(Aim::None.met(&s), None);
        assert_eq!(Unit::Seconds.show(0.0123), "12.3 ms");
    }
}
