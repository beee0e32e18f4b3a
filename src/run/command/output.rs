//! The output of a command: its end for messages, all of it for a log file, and the line that signals that the Flow
//! is ready.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::plan::Ready;
use crate::units::Secrets;

/// How much of the end of a command's output is kept, in bytes.
const END_MAX: usize = 2048;

/// Read buffer size in bytes.
const CHUNK: usize = 8192;

/// Longer lines are split, in bytes.
const LINE_MAX: usize = 1 << 16;

/// Capacity of the queue of lines to the log file. If the disk is slower than the command, lines are dropped: the
/// command never waits for it.
const LINES_WAITING: usize = 4096;

/// The size at which the log file is rotated, in bytes.
const FILE_MAX: u64 = 8 << 20;

/// Receives the output of a command.
#[derive(Clone)]
pub(super) struct Output(Arc<Kept>);

struct Kept {
    end: Mutex<VecDeque<u8>>,
    /// The file's name, for messages, and the queue of lines to it.
    file: Option<(String, mpsc::Sender<Vec<u8>>)>,
    ready: Ready,
    is_ready: watch::Sender<bool>,
}

impl Output {
    /// With the log file, from which secrets are masked; the handle finishes once everything is written.
    pub(super) fn new(
        ready: &Ready,
        file: Option<&Path>,
        secrets: &Secrets,
    ) -> (Output, Option<JoinHandle<()>>) {
        let (file, writing) = match file {
            None => (None, None),
            Some(path) => {
                let (lines, queue) = mpsc::channel(LINES_WAITING);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let (path, secrets) = (path.to_owned(), secrets.clone());
                let writing = tokio::task::spawn_blocking(move || write(&path, &secrets, queue));
                (Some((name, lines)), Some(writing))
            }
        };
        let (end, ready) = (Mutex::default(), ready.clone());
        (Output(Arc::new(Kept { end, file, ready, is_ready: watch::Sender::new(false) })), writing)
    }

    /// Reads to the end, so that the command never blocks on us.
    pub(super) async fn keep(self, mut from: impl AsyncRead + Unpin) {
        let (mut buffer, mut line) = (vec![0; CHUNK], Vec::new());
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.keep_end(&buffer[..read]);
            for part in buffer[..read].split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if part.ends_with(b"\n") || line.len() >= LINE_MAX {
                    self.line(std::mem::take(&mut line));
                }
            }
            // A prompt without a newline is checked as well.
            self.look(&line);
        }
        if !line.is_empty() {
            self.line(line);
        }
    }

    /// Waits for the line that signals that the Flow is ready.
    pub(super) async fn is_ready(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.is_ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn keep_end(&self, bytes: &[u8]) {
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.extend(bytes);
        // One more byte, which shows that there was more.
        let more = end.len().saturating_sub(END_MAX + 1);
        end.drain(..more);
    }

    fn line(&self, line: Vec<u8>) {
        self.look(&line);
        if let Some((_, lines)) = &self.0.file {
            let _ = lines.try_send(line);
        }
    }

    fn look(&self, line: &[u8]) {
        let line = line.trim_ascii_end();
        let says_so = match &self.0.ready {
            Ready::Log(text) => line.windows(text.len().max(1)).any(|part| part == text.as_bytes()),
            Ready::LogMatches(pattern) => pattern.is_match(line),
            Ready::Answers | Ready::Address(..) | Ready::Url { .. } => return,
        };
        if says_so {
            self.0.is_ready.send_replace(true);
        }
    }

    /// The last lines, as the end of a sentence.
    pub(super) fn told(&self) -> String {
        const LINES: usize = 5;
        let end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        let mut end: Vec<u8> = end.iter().copied().collect();
        let is_cut = end.len() > END_MAX;
        if is_cut {
            // Do not start within a character.
            let inside = |byte: &u8| *byte & 0xc0 == 0x80;
            let begin = end.iter().skip(1).position(|byte| !inside(byte)).unwrap_or_default() + 1;
            end.drain(..begin);
        }
        let text = String::from_utf8_lossy(&end);
        let text = if is_cut { format!("…{text}") } else { text.into_owned() };
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let file = self.0.file.as_ref().map(|(name, _)| format!(", which is in {name}"));
        match lines.split_at(lines.len().saturating_sub(LINES)).1 {
            [] => String::new(),
            last => {
                let file = file.unwrap_or_default();
                format!("; the end of its output{file}: {}", last.join("\n"))
            }
        }
    }
}

/// Writes lines to a file, which is created for the first line. A full file is renamed to the older one, and a new
/// one takes its place.
fn write(path: &Path, secrets: &Secrets, mut lines: mpsc::Receiver<Vec<u8>>) {
    let mut file: Option<(File, u64)> = None;
    while let Some(line) = lines.blocking_recv() {
        let text = String::from_utf8_lossy(&line);
        let text = secrets.mask(&text);
        let written = (|| -> io::Result<()> {
            let (mut open, size) = match file.take() {
                Some((open, size)) if size < FILE_MAX => (open, size),
                Some(_) => {
                    std::fs::rename(path, older(path))?;
                    (File::create(path)?, 0)
                }
                None => (File::create(path)?, 0),
            };
            open.write_all(text.as_bytes())?;
            file = Some((open, size + text.len() as u64));
            Ok(())
        })();
        if written.is_err() {
            // A full disk is no reason to end a run; the end of the output still goes into messages.
            break;
        }
    }
}

/// Turns `flow-a.log` into `flow-a.1.log`.
fn older(path: &Path) -> PathBuf {
    path.with_extension("1.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(ready: Ready, text: &'static [u8], path: Option<&Path>) -> (Output, bool) {
        let secrets = Secrets::default();
        secrets.add("the-token");
        let (output, writing) = Output::new(&ready, path, &secrets);
        output.clone().keep(text).await;
        let (told, is_ready) = (output.told(), *output.0.is_ready.borrow());
        let shown = Output::new(&Ready::Answers, None, &secrets).0;
        shown.keep_end(told.as_bytes());
        drop(output);
        if let Some(writing) = writing {
            writing.await.expect("it ends");
        }
        (shown, is_ready)
    }

    #[tokio::test]
    async fn a_line_says_that_the_flow_is_ready_by_a_text_or_a_regular_expression() {
        let matches = |text: &str| Ready::LogMatches(regex::bytes::Regex::new(text).unwrap());
        for (ready, expected) in [
            (Ready::Log("is ready".into()), true),
            (Ready::Log("is ready.".into()), false),
            (matches(r"port \d+$"), true),
            (matches(r"ready$"), true),
            (matches(r"^Flow"), false),
            (Ready::Answers, false),
        ] {
            let text = "\u{1b}[32mFlow\u{1b}[0m is ready\nport 1234".as_bytes();
            let (_, is_ready) = kept(ready.clone(), text, None).await;
            assert_eq!(is_ready, expected, "{ready:?}");
        }
    }

    #[tokio::test]
    async fn all_of_it_is_in_the_file_without_secrets_and_the_end_of_it_in_messages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flow-a.log");
        let text = b"1\n2\n3\n4 the-token\n5\n6\n7";
        let (told, _) = kept(Ready::Answers, text, Some(&path)).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n3\n4 ***\n5\n6\n7");
        let told = told.told();
        assert!(told.ends_with(", which is in flow-a.log: 3\n4 the-token\n5\n6\n7"), "{told}");
    }

    #[tokio::test]
    async fn a_flow_that_prints_without_end_fills_two_files_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flow-a.log");
        let (lines, queue) = mpsc::channel(64);
        let writing = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || write(&path, &Secrets::default(), queue))
        };
        for i in 0..3 * FILE_MAX / (1 << 20) + 1 {
            lines.send(vec![b'0' + (i % 10) as u8; 1 << 20]).await.unwrap();
        }
        drop(lines);
        writing.await.unwrap();
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!((size(&path), size(&older(&path))), (1 << 20, FILE_MAX));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
