//! Medians and percentiles.

use crate::measure::Sample;

/// What is said of a peer's samples; times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub n: usize,
    pub median: u64,
    pub min: u64,
    pub p99: u64,
    /// Mean, for the kernel accounts CPU time of many short runs well in sum.
    pub cpu: Option<u64>,
}

impl Summary {
    /// `None` of nothing.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let mut walls: Vec<u64> = samples.iter().map(|sample| micros(sample.wall)).collect();
        walls.sort_unstable();
        let cpu: Option<Vec<u64>> = samples.iter().map(|s| s.cpu.map(micros)).collect();
        let cpu = cpu.map(|all| all.iter().sum::<u64>());
        let count = u64::try_from(samples.len()).ok()?;
        Some(Self {
            n: walls.len(),
            median: percentile(&walls, 50)?,
            min: *walls.first()?,
            p99: percentile(&walls, 99)?,
            cpu: cpu.and_then(|sum| sum.checked_div(count)),
        })
    }
}

/// The nearest-rank percentile of sorted values.
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

pub fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!(percentile(&values, 50), Some(100));
        assert_eq!(percentile(&values, 99), Some(198));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile::<u64>(&[], 50), None);
    }

    #[test]
    fn a_summary_needs_a_sample() {
        assert_eq!(Summary::of(&[]), None);
        let sample = |wall, cpu| Sample {
            wall: Duration::from_micros(wall),
            cpu: Some(Duration::from_micros(cpu)),
        };
        let summary = Summary::of(&[sample(30, 4), sample(10, 2), sample(20, 6)]);
        assert_eq!(
            summary,
            Some(Summary {
                n: 3,
                median: 20,
                min: 10,
                p99: 30,
                cpu: Some(4)
            })
        );
    }
}
