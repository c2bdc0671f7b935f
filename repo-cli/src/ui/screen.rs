//! Standard output and standard error, in one hand: lines, JSON, and a status that is redrawn in place.
//!
//! In: finished texts. Out: bytes in the right order. Text from outside has been through [`super::escape`]
//! before it gets here. When the reader of standard output has gone, the run is asked to stop.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use repo_core::context::Cancel;

use super::table::shorten;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `-q`: results and errors only.
    Quiet,
    /// Summaries and progress.
    Normal,
    /// `-v`
    Verbose,
    /// `-vv`: every file.
    Detailed,
}

/// Where a run writes.
pub struct Screen {
    /// How much is said.
    pub level: Level,
    /// Whether results are JSON; then nothing is said beside them.
    pub json: bool,
    /// Whether standard output is a terminal that can redraw its last lines.
    pub redraws: bool,
    cancel: Cancel,
    reader_gone: AtomicBool,
    out: Mutex<Out>,
}

struct Out {
    stdout: BufWriter<Stdout>,
    /// Lines of the status now on the terminal; the cursor stands at the end of the last.
    drawn: usize,
    terminal: bool,
}

impl Screen {
    /// Standard output and standard error of the process. A dumb terminal cannot redraw.
    pub fn new(level: Level, json: bool, dumb: bool, cancel: Cancel) -> Self {
        let terminal = io::stdout().is_terminal();
        let out = Out { stdout: BufWriter::new(io::stdout()), drawn: 0, terminal };
        Self {
            level,
            json,
            redraws: terminal && !dumb,
            cancel,
            reader_gone: AtomicBool::new(false),
            out: Mutex::new(out),
        }
    }

    /// Whether only results and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.level == Level::Quiet
    }

    /// A line of the result: always printed.
    pub fn line(&self, text: impl AsRef<str>) {
        self.lines([text]);
    }

    /// Lines of the result, printed together.
    pub fn lines(&self, texts: impl IntoIterator<Item = impl AsRef<str>>) {
        self.with_stdout(|out| {
            texts.into_iter().try_for_each(|text| {
                out.write_all(text.as_ref().as_bytes())?;
                out.write_all(b"\n")
            })
        });
    }

    /// A line beside the result: printed from this level on, and never among JSON.
    pub fn say(&self, level: Level, text: impl AsRef<str>) {
        if self.level >= level && !self.json {
            self.line(text);
        }
    }

    /// Bytes of the result, as they are.
    pub fn bytes(&self, bytes: &[u8]) {
        self.with_stdout(|out| out.write_all(bytes));
    }

    /// A line on standard error: always printed.
    pub fn warn(&self, text: impl AsRef<str>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.erase();
        let _ = out.stdout.flush();
        let mut line = text.as_ref().as_bytes().to_vec();
        line.push(b'\n');
        let _ = io::stderr().write_all(&line);
    }

    /// Replaces the status at the bottom of the terminal. Each line is cut to the terminal's width.
    pub fn status(&self, lines: &[String]) {
        let width = columns();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.erase();
        let short: Vec<_> = lines.iter().map(|line| shorten(line, width.saturating_sub(1))).collect();
        let _ = out.stdout.write_all(short.join("\n").as_bytes());
        let _ = out.stdout.flush();
        out.drawn = lines.len();
    }

    /// Writes what is buffered.
    pub fn flush(&self) {
        self.with_stdout(Write::flush);
    }

    /// Whether the reader of standard output has gone.
    pub fn nobody_reads(&self) -> bool {
        self.reader_gone.load(Ordering::Acquire)
    }

    /// A writer to standard output for large results. Errors come back, that of a gone reader included.
    pub fn writer(&self) -> impl Write + '_ {
        Through(self)
    }

    fn with_stdout(&self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) {
        let _ = self.try_stdout(write);
    }

    fn try_stdout(&self, write: impl FnOnce(&mut BufWriter<Stdout>) -> io::Result<()>) -> io::Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let result = out.erase().and_then(|()| write(&mut out.stdout));
        let result = if out.terminal { result.and_then(|()| out.stdout.flush()) } else { result };
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.reader_gone.store(true, Ordering::Release);
            self.cancel.cancel();
        }
        result
    }
}

impl Out {
    /// Takes the status away; the cursor stands at the start of a line then.
    fn erase(&mut self) -> io::Result<()> {
        for line in 0..std::mem::take(&mut self.drawn) {
            self.stdout.write_all(if line == 0 { b"\r\x1b[2K" } else { b"\x1b[1A\r\x1b[2K" })?;
        }
        Ok(())
    }
}

struct Through<'a>(&'a Screen);

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_stdout(|out| out.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.try_stdout(Write::flush)
    }
}

/// The width of the terminal; 80 if it does not say.
fn columns() -> usize {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
    {
        return size.ws_col.into();
    }
    80
}
