//! What a person, a pipe or a program sees of the work: one line a step, live bars on a terminal,
//! JSON events on request.
//!
//! Progress goes to standard error, results to standard output. Knows nothing of what the work is.

mod hidden;

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

pub use hidden::ask_hidden;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Live bars on a terminal.
    Live,
    /// One line a finished step: pipes, files, CI.
    Lines,
    /// One JSON object a line, on standard output.
    Json,
    /// Nothing.
    Silent,
}

impl Mode {
    fn is_text(self) -> bool {
        matches!(self, Mode::Live | Mode::Lines)
    }
}

/// The door through which all output about the work's progress goes. Cheap to clone; threads share it.
#[derive(Clone)]
pub struct Ui {
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mode,
    colour: bool,
    verbose: bool,
    bars: MultiProgress,
}

impl Ui {
    /// Chooses the mode from the flags, the terminal and `NO_COLOR`, `CI`, `TERM`.
    pub fn new(json: bool, verbose: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stderr().is_terminal() && !dumb;
        let mode = match (json, terminal && !set("CI")) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        };
        Self::with(mode, terminal && !set("NO_COLOR"), verbose)
    }

    /// Shows nothing: for tests of what happens, not of what is shown.
    pub fn silent() -> Self {
        Self::with(Mode::Silent, false, false)
    }

    fn with(mode: Mode, colour: bool, verbose: bool) -> Self {
        Self { shared: Arc::new(Shared { mode, colour, verbose, bars: MultiProgress::new() }) }
    }

    /// Begins one line of work: `task("fetch", "iptables-1.8.9.tar.xz")`.
    pub fn task(&self, verb: &'static str, object: impl Into<String>) -> Task {
        let object = object.into();
        self.event(|| json!({"event": "start", "task": verb, "object": object}));
        let bar = (self.shared.mode == Mode::Live).then(|| self.spinner(verb, &object));
        Task { ui: self.clone(), verb, object, bar, started: Instant::now(), finished: false }
    }

    /// Says something once that is not a task: `warning`, `note`.
    pub fn note(&self, verb: &'static str, text: &str) {
        self.event(|| json!({"event": "note", "task": verb, "text": text}));
        if self.shared.mode.is_text() {
            self.line(&format!("{} {text}", self.verb(verb, "33")));
        }
    }

    /// One line of a running command's output, shown only with `-v`.
    pub fn log(&self, object: &str, line: &str) {
        if !self.shared.verbose {
            return;
        }
        self.event(|| json!({"event": "log", "object": object, "line": line}));
        if self.shared.mode.is_text() {
            self.line(&format!("{object} | {line}"));
        }
    }

    /// What the command was run for, on standard output: a text for people, or an event for programs.
    pub fn result(&self, text: &str, event: Value) {
        match self.shared.mode {
            Mode::Json => self.event(|| event),
            Mode::Live | Mode::Lines => self.shared.bars.suspend(|| print_line(text)),
            Mode::Silent => {}
        }
    }

    /// The error that ends the command, on standard error (and as an event).
    pub fn error(&self, text: &str, exit_code: u8) {
        self.event(|| json!({"event": "error", "text": text, "exit_code": exit_code}));
        if self.shared.mode.is_text() {
            let text = if self.shared.colour {
                text.replacen("error:", "\x1b[1;31merror:\x1b[0m", 1)
            } else {
                text.to_owned()
            };
            self.line(text.trim_end());
        }
    }

    fn event(&self, event: impl FnOnce() -> Value) {
        if self.shared.mode == Mode::Json {
            print_line(&event().to_string());
        }
    }

    fn line(&self, text: &str) {
        // Nobody is left to tell when standard error is closed.
        self.shared.bars.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    fn verb(&self, verb: &str, colour: &str) -> String {
        if self.shared.colour { format!("\x1b[1;{colour}m{verb:>9}\x1b[0m") } else { format!("{verb:>9}") }
    }

    fn spinner(&self, verb: &str, object: &str) -> ProgressBar {
        let bar = self.shared.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{prefix} {wide_msg} {elapsed}"));
        bar.set_prefix(self.verb(verb, "36"));
        bar.set_message(object.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }
}

/// One running line of work. Dropped without `done` or `failed`, it leaves no line.
pub struct Task {
    ui: Ui,
    verb: &'static str,
    object: String,
    bar: Option<ProgressBar>,
    started: Instant,
    finished: bool,
}

impl Task {
    /// Turns the line into a bar over `bytes`, `position` of them done already.
    pub fn bytes(&self, position: u64, bytes: Option<u64>) {
        let Some(bar) = &self.bar else { return };
        match bytes {
            Some(bytes) => {
                bar.set_length(bytes);
                bar.set_style(style("{prefix} {msg} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}"));
            }
            None => bar.set_style(style("{prefix} {msg} {bytes} {bytes_per_sec}")),
        }
        bar.set_position(position);
    }

    /// `count` more bytes are done.
    pub fn advance(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
    }

    /// Says what the line waits for or tries now; only a terminal shows it.
    pub fn now(&self, doing: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {doing}", self.object));
        }
    }

    /// The work is done: leaves one line, with `detail` behind the object.
    pub fn done(self, detail: &str) {
        self.finish("done", "32", detail);
    }

    /// The work failed: leaves one line; the error itself is told by whoever gets it.
    pub fn failed(self, detail: &str) {
        self.finish("failed", "31", detail);
    }

    fn finish(mut self, event: &'static str, colour: &str, detail: &str) {
        self.finished = true;
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let (verb, object) = (self.verb, &self.object);
        self.ui.event(|| {
            json!({"event": event, "task": verb, "object": object, "detail": detail,
                   "seconds": (seconds * 1000.0).round() / 1000.0})
        });
        if self.ui.shared.mode.is_text() {
            let state = if event == "failed" { "FAILED " } else { "" };
            let gap = if detail.is_empty() { "" } else { "  " };
            let verb = self.ui.verb(verb, colour);
            self.ui.line(&format!("{verb} {state}{object}{gap}{detail}  {seconds:.1}s"));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let (false, Some(bar)) = (self.finished, &self.bar) {
            bar.finish_and_clear();
        }
    }
}

/// `1234567` as `1.2 MB`: decimal units, as download pages and disks give them.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 || unit == "GB" {
            let digits = usize::from(unit != "B" && value < 99.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    unreachable!("the last unit always returns")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are constants").progress_chars("=> ")
}

/// A reader that went away (`| head`) is not an error of ours.
fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_read_well() {
        let shown = [0, 999, 1000, 637_848, 93_508_126, 2_500_000_000].map(super::size);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "638 kB", "93.5 MB", "2.5 GB"]);
    }
}
