//! stdout and stderr: nothing else in the program writes to them.
//!
//! If the reader closes stdout early (`| head`), that is not a failure: the rest is discarded. If
//! stdout cannot be written for another reason, such as a full disk, the exit code is
//! [`Exit::NotWritten`]. Failures of stderr cannot be reported anywhere. Text from outside cannot
//! move the cursor: never on stderr, which usually ends up on a terminal, and not on stdout if it
//! is one.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock};

use super::exit::Exit;
use super::problem::Problem;
use crate::engine::examine::Output;
use crate::report::Format;
use crate::report::words::is_command;
use crate::units::Secrets;

/// Prints a line to stdout.
pub(super) fn line(text: impl Display) -> Result<(), Problem> {
    text_out(format_args!("{text}\n"))
}

/// Prints to stdout.
pub(super) fn text_out(text: impl Display) -> Result<(), Problem> {
    written(|out| write!(out, "{text}"))
}

/// Prints the output of a function, with its colours, to stdout.
pub(super) fn written(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Problem> {
    // In one write, so that no character and no colour code is cut in two.
    let mut text = Vec::new();
    let result = write(&mut text).and_then(|()| Out::new(Colors::Kept).write_all(&text));
    result.map_err(not_printed)
}

/// Prints one or several lines to stderr.
pub(super) fn tell(text: impl Display) {
    let _ = Err { colors: Colors::Dropped }.write_all(format!("{text}\n").as_bytes());
}

/// Like [`tell`], for text with our own colours.
fn tell_colored(text: &str) {
    let _ = Err { colors: Colors::Kept }.write_all(format!("{text}\n").as_bytes());
}

impl Problem {
    /// Prints it to stderr, and returns the exit code.
    pub(super) fn print(&self) -> Exit {
        match self.colored {
            true => tell_colored(&self.text),
            false => tell(&self.text),
        }
        self.exit
    }
}

/// stderr, for text from any source.
pub(super) fn err() -> impl Write + Send + 'static {
    Err { colors: Colors::Dropped }
}

/// How a result is printed: with `--json`, with `--quiet`, or in full.
pub(super) fn format(json: bool, quiet: bool) -> Format {
    match (json, quiet) {
        (true, _) => Format::Json,
        (false, true) => Format::Verdict,
        (false, false) => Format::Terminal { color: colored(), columns: columns() },
    }
}

/// Where actions print: stdout, unless that is reserved for the result.
pub(super) fn output(json: bool) -> Output {
    if json { Arc::new(Mutex::new(err())) } else { Arc::new(Mutex::new(Out::new(Colors::Dropped))) }
}

/// Whether stderr is a terminal.
pub(super) fn err_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Width of stdout in columns.
pub(super) fn columns() -> usize {
    const OTHERWISE: usize = 80;
    match out_is_terminal() {
        true => usize::from(console::Term::stdout().size().1).max(OTHERWISE),
        false => OTHERWISE,
    }
}

/// Whether stdout is a terminal.
pub(super) fn out_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether to use colours on stdout.
pub(super) fn colored() -> bool {
    // https://no-color.org: set and not empty.
    out_is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The problem that stdout could not be written.
pub(super) fn not_printed(error: io::Error) -> Problem {
    Problem::new(Exit::NotWritten, format!("error: cannot write to stdout: {error}"))
}

/// Secrets that are never printed. Global, like stdout and stderr themselves.
static SECRETS: OnceLock<Secrets> = OnceLock::new();

/// The secrets that are never printed from now on, for adding more.
pub(super) fn hide() -> Secrets {
    SECRETS.get_or_init(Secrets::default).clone()
}

/// A text with its secrets masked.
fn masked(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(secrets) = SECRETS.get() else { return Cow::Borrowed(bytes) };
    let text = String::from_utf8_lossy(bytes);
    match secrets.mask(&text) {
        Cow::Borrowed(_) => Cow::Borrowed(bytes),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// What to do with colour codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colors {
    Kept,
    Dropped,
}

/// stdout, for text from outside. Each write is one text.
#[derive(Debug)]
pub(super) struct Out {
    terminal: bool,
    colors: Colors,
    /// Whether the reader has closed it.
    closed: bool,
}

impl Out {
    fn new(colors: Colors) -> Out {
        Out { terminal: out_is_terminal(), colors, closed: false }
    }

    /// For text from any source.
    pub(super) fn plain() -> Out {
        Out::new(Colors::Dropped)
    }

    /// Whether the reader has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Ignores errors after the reader has closed it.
    fn taken(&mut self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result,
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.closed {
            // Bypasses the buffer of stdout, which would keep what failed and retry it at the end.
            let mut out = io::stdout().lock();
            let text = masked(bytes);
            let result = match self.terminal {
                true => out.write_all(shown(&text, self.colors).as_bytes()),
                false => out.write_all(&text),
            };
            self.taken(result.and_then(|()| out.flush()))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// stderr, for text from outside.
struct Err {
    colors: Colors,
}

impl Write for Err {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(shown(&masked(bytes), self.colors).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A text without terminal controls, except line breaks, tabs, its bell and, if they are ours,
/// colours.
fn shown(bytes: &[u8], colors: Colors) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        let color = if colors == Colors::Kept { color_len(rest) } else { None };
        let len = color.unwrap_or(c.len_utf8());
        match c {
            '\n' | '\t' | '\x07' => out.push(c),
            c if is_command(c) && color.is_none() => out.push(char::REPLACEMENT_CHARACTER),
            _ => out.push_str(&rest[..len]),
        }
        rest = &rest[len..];
    }
    out
}

/// Length in bytes of the colour code that a text starts with.
fn color_len(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\x1b[")?;
    let end = inner.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inner[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_others_can_speak_to_a_terminal() {
        let hostile = "a\x1b]0;title\x07b\u{9b}2J\u{202e}c\x1b[31md\n\te\r\u{2066}";
        assert_eq!(
            shown(hostile.as_bytes(), Colors::Dropped),
            "a\u{fffd}]0;title\x07b\u{fffd}2J\u{fffd}c\u{fffd}[31md\n\te\u{fffd}\u{fffd}"
        );
        assert_eq!(shown(b"\xff\x9b2J", Colors::Dropped), "\u{fffd}\u{fffd}2J");
    }

    #[test]
    fn our_own_colours_stay_and_nothing_else_does() {
        let text = "\x1b[1;32mpassed\x1b[0m \x1b[2J \x1b[3";
        let expected = "\x1b[1;32mpassed\x1b[0m \u{fffd}[2J \u{fffd}[3";
        assert_eq!(shown(text.as_bytes(), Colors::Kept), expected);
    }
}
