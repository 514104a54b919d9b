//! What is counted, of a stream and of the whole worker.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Of one stream, or of all.
#[derive(Debug)]
pub struct Figures {
    since: Instant,
    counts: [AtomicU64; NAMES.len()],
    /// Of the sandbox, once it has ended: bytes, and microseconds of processors.
    ended: [AtomicU64; ENDED.len()],
    /// In which all of these are counted, too.
    whole: Option<Arc<Figures>>,
}

const NAMES: [&str; 6] = [
    "batches_in",
    "batches_out",
    "bytes_in",
    "bytes_out",
    "rows_in",
    "rows_out",
];

const ENDED: [&str; 2] = ["memory_peak", "cpu_us"];

impl Default for Figures {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            counts: Default::default(),
            ended: Default::default(),
            whole: None,
        }
    }
}

impl Figures {
    /// A stream's, of a worker's.
    pub fn part_of(whole: Arc<Self>) -> Self {
        Self {
            whole: Some(whole),
            ..Self::default()
        }
    }

    /// A batch of the engine's.
    pub fn taken(&self, bytes: usize, rows: usize) {
        self.add([1, 0, bytes as u64, 0, rows as u64, 0]);
    }

    /// A batch of the function's.
    pub fn given(&self, bytes: usize, rows: usize) {
        self.add([0, 1, 0, bytes as u64, 0, rows as u64]);
    }

    /// What the sandbox had used in the end: bytes of memory, microseconds of processors.
    pub fn ended(&self, memory_peak: u64, cpu_us: u64) {
        for (figure, found) in self.ended.iter().zip([memory_peak, cpu_us]) {
            figure.store(found, Ordering::Relaxed);
        }
    }

    fn add(&self, figures: [u64; NAMES.len()]) {
        for (count, figure) in self.counts.iter().zip(figures) {
            count.fetch_add(figure, Ordering::Relaxed);
        }
        if let Some(whole) = &self.whole {
            whole.add(figures);
        }
    }

    /// By name, and the microseconds since it began; what is not known is left out.
    pub fn told(&self) -> HashMap<String, String> {
        let counts = NAMES.iter().zip(&self.counts);
        let ended = ENDED.iter().zip(&self.ended);
        let counts = counts.chain(ended.filter(|(_, figure)| load(figure) > 0));
        let elapsed = ("elapsed_us".to_owned(), self.since.elapsed().as_micros());
        counts
            .map(|(name, count)| ((*name).to_owned(), u128::from(load(count))))
            .chain([elapsed])
            .map(|(name, figure)| (name, figure.to_string()))
            .collect()
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_counts_counts_for_the_worker_too() {
        let worker = Arc::new(Figures::default());
        let streams = [1, 2].map(|_| Figures::part_of(worker.clone()));
        for stream in &streams {
            stream.taken(100, 10);
            stream.given(50, 5);
        }
        streams[0].ended(1 << 20, 7);
        let told = streams[0].told();
        assert_eq!(
            (told["rows_in"].as_str(), told["bytes_out"].as_str()),
            ("10", "50")
        );
        assert_eq!(told["memory_peak"], "1048576");
        let told = worker.told();
        assert_eq!(
            (told["rows_in"].as_str(), told["batches_out"].as_str()),
            ("20", "2")
        );
        assert!(!told.contains_key("memory_peak"));
    }
}
