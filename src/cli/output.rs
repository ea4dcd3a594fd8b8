//! How commands show long work and results: bars at a terminal, plain lines otherwise, JSON on
//! request.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Pause between two plain lines about the same work.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Long work that shows how far it is, on standard error.
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    plain: bool,
    last_line: tokio::time::Instant,
}

impl Progress {
    /// `total` of `what` are to be done; `None` when that is not known.
    pub fn new(what: &'static str, total: Option<u64>, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let template = match total {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
            None => "{msg} {spinner} {human_pos}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        if !terminal || json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bar, what, plain: !terminal && !json, last_line: tokio::time::Instant::now() }
    }

    /// So many are done in all.
    pub fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        if self.plain && self.last_line.elapsed() >= PLAIN_EVERY {
            self.last_line = tokio::time::Instant::now();
            match self.bar.length() {
                Some(total) => eprintln!("{}: {done} of {total}", self.what),
                None => eprintln!("{}: {done}", self.what),
            }
        }
    }

    /// The work has ended.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// Prints a result on standard output: as JSON, or as `text` says.
pub fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) {
    let text = match json {
        true => serde_json::to_string(value).expect("results are plain data"),
        false => text(),
    };
    // Whoever reads may have had enough and closed the pipe; that is not our failure.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
