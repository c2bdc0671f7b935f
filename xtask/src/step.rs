//! A chore is a list of steps: each is announced, timed, and ends the chore when it fails.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps of one chore so far.
pub(crate) struct Steps {
    chore: &'static str,
    begun: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// A chore without steps yet.
    pub(crate) fn new(chore: &'static str) -> Self {
        Self { chore, begun: Instant::now(), done: Vec::new() }
    }

    /// Does one step; the error names it.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\n── {name} ──");
        let begun = Instant::now();
        let value =
            work().with_context(|| format!("step \"{name}\" failed after {}", seconds(begun.elapsed())))?;
        let took = begun.elapsed();
        println!("── {name}: ok, {}", seconds(took));
        self.done.push((name.to_owned(), took));
        Ok(value)
    }

    /// Says what was done and how long it took.
    pub(crate) fn finish(self) {
        let mut text = format!(
            "\n{}: {} steps passed in {}\n",
            self.chore,
            self.done.len(),
            seconds(self.begun.elapsed())
        );
        for (name, took) in &self.done {
            let _ = writeln!(text, "  {:>9}  {name}", seconds(*took));
        }
        print!("{text}");
    }
}

/// `3.2 s`, or `12 min 03 s` from two minutes on.
pub(crate) fn seconds(span: Duration) -> String {
    let whole = span.as_secs();
    if whole < 120 {
        format!("{:.1} s", span.as_secs_f64())
    } else {
        format!("{} min {:02} s", whole / 60, whole % 60)
    }
}
