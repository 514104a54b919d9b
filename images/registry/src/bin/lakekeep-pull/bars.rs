//! Progress on a terminal: a bar for each layer that is being fetched.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lakekeep_content::Digest;
use lakekeep_registry::Progress;

const LINE: &str = "{prefix} {bar:30} {bytes:>11} of {total_bytes:<11} {bytes_per_sec:>13} {eta}";

/// Hexadecimal digits by which a layer is called.
const SHORT: usize = 12;

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &Digest, _: u64, _: u64) {}
    fn at(&self, _: &Digest, _: u64) {}
    fn end(&self, _: &Digest) {}
}

/// Bars on standard error; gone when dropped.
pub struct Bars {
    all: MultiProgress,
    of_layer: Mutex<BTreeMap<Digest, ProgressBar>>,
}

impl Bars {
    pub fn new() -> Bars {
        Bars {
            all: MultiProgress::new(),
            of_layer: Mutex::default(),
        }
    }

    fn with(&self, layer: &Digest, tell: impl FnOnce(&ProgressBar)) {
        let bars = self.of_layer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = bars.get(layer) {
            tell(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, layer: &Digest, size: u64, there: u64) {
        let bar = self.all.add(ProgressBar::new(size));
        if let Ok(style) = ProgressStyle::with_template(LINE) {
            bar.set_style(style);
        }
        let name: String = layer.hex().chars().take(SHORT).collect();
        bar.set_prefix(name);
        bar.set_position(there);
        // What was there before says nothing about how fast the rest comes.
        bar.reset_eta();
        let mut bars = self.of_layer.lock().unwrap_or_else(PoisonError::into_inner);
        bars.insert(*layer, bar);
    }

    fn at(&self, layer: &Digest, there: u64) {
        self.with(layer, |bar| bar.set_position(there));
    }

    fn end(&self, layer: &Digest) {
        self.with(layer, ProgressBar::finish_and_clear);
    }
}
