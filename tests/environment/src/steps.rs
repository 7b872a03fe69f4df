//! One line per step on the terminal, with the time that it took.

use std::io::{Write, stdout};
use std::time::Instant;

use anyhow::Result;

/// Prints steps as they happen.
pub struct Steps {
    began: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps {
    /// The time that is printed begins now.
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Does one step: its name when it begins, its time when it ends.
    pub fn run<T>(&self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        print!("[{:6.1} s] {name:<58}", self.began.elapsed().as_secs_f64());
        // A terminal that went away is no reason to stop.
        let _ = stdout().flush();
        let began = Instant::now();
        let result = step();
        let outcome = if result.is_ok() { "" } else { "  failed" };
        println!(" {:6.1} s{outcome}", began.elapsed().as_secs_f64());
        result
    }

    /// A line without a step of its own.
    pub fn note(&self, text: &str) {
        println!("[{:6.1} s] {text}", self.began.elapsed().as_secs_f64());
    }
}
