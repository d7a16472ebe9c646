//! Output of one container to its log and to whoever is attached; input the other way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::SystemTime;

use rustix::io::Errno;

use super::log::{Log, Stream};

const CHUNK: usize = 32 * 1024;
/// While an attached reader is this far behind, the container's output is not read: it waits, as
/// with containerd.
const MAX_PENDING: usize = 64 * 1024;

/// The shim's ends of a container's streams.
pub struct Streams {
    /// Both directions at once; then the others are absent.
    pub terminal: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    pub log: Log,
    stdin_once: bool,
    /// Input that the container has not taken yet.
    input: Vec<u8>,
    attached: Vec<Attachment>,
}

/// The far ends of somebody who is attached.
pub struct Attachment {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<Sink>,
    pub stderr: Option<Sink>,
}

/// A pipe to write to, with what it did not take yet.
pub struct Sink {
    fd: OwnedFd,
    pending: Vec<u8>,
}

/// Something to poll: which descriptor, for what, and who it is.
pub struct Interest<'a> {
    pub fd: BorrowedFd<'a>,
    pub write: bool,
    pub what: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Output(Stream),
    Input,
    AttachedInput(usize),
    AttachedOutput(usize, Stream),
}

impl Sink {
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, pending: Vec::new() }
    }

    /// Writes what fits now; false when the reader is gone.
    fn push(&mut self, bytes: &[u8]) -> bool {
        self.pending.extend_from_slice(bytes);
        write_out(self.fd.as_fd(), &mut self.pending)
    }

    /// Keeps trying after the container is gone: what is left, or nothing.
    pub fn drain(mut self) -> Option<Self> {
        (self.push(&[]) && !self.pending.is_empty()).then_some(self)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Streams {
    pub fn new(log: Log, stdin_once: bool) -> Self {
        Self {
            terminal: None,
            stdin: None,
            stdout: None,
            stderr: None,
            log,
            stdin_once,
            input: Vec::new(),
            attached: Vec::new(),
        }
    }

    pub fn attach(&mut self, attachment: Attachment) {
        self.attached.push(attachment);
    }

    /// What to wait for at the moment.
    pub fn interests<'a>(&'a self) -> Vec<Interest<'a>> {
        let mut list: Vec<Interest<'a>> = Vec::new();
        let mut add = |fd: Option<&'a OwnedFd>, write: bool, what: Source| {
            list.extend(fd.map(|f| Interest { fd: f.as_fd(), write, what }));
        };
        let behind = |a: &Attachment| {
            [&a.stdout, &a.stderr].into_iter().flatten().any(|s| s.pending.len() > MAX_PENDING)
        };
        if !self.attached.iter().any(behind) {
            let out = self.terminal.as_ref().or(self.stdout.as_ref());
            add(out, false, Source::Output(Stream::Stdout));
            add(self.stderr.as_ref(), false, Source::Output(Stream::Stderr));
        }
        let input = self.terminal.as_ref().or(self.stdin.as_ref());
        if !self.input.is_empty() {
            add(input, true, Source::Input);
        }
        for (index, a) in self.attached.iter().enumerate() {
            if input.is_some() && self.input.is_empty() {
                add(a.stdin.as_ref(), false, Source::AttachedInput(index));
            }
            for (sink, stream) in [(&a.stdout, Stream::Stdout), (&a.stderr, Stream::Stderr)] {
                if let Some(sink) = sink.as_ref().filter(|s| !s.pending.is_empty()) {
                    add(Some(&sink.fd), true, Source::AttachedOutput(index, stream));
                }
            }
        }
        list
    }

    /// Handles one thing that is ready.
    pub fn ready(&mut self, what: Source, buffer: &mut Vec<u8>) {
        match what {
            Source::Output(stream) => {
                self.read_output(stream, buffer);
            }
            Source::Input => self.write_input(),
            Source::AttachedInput(index) => self.read_attached(index, buffer),
            Source::AttachedOutput(index, stream) => {
                if let Some(a) = self.attached.get_mut(index) {
                    let sink = a.sink(stream);
                    if sink.as_mut().is_some_and(|s| !s.push(&[])) {
                        *sink = None;
                    }
                }
            }
        }
    }

    /// Drops attachments that have nothing left; indices change, so only between rounds.
    pub fn sweep(&mut self) {
        self.attached.retain(|a| a.stdin.is_some() || a.stdout.is_some() || a.stderr.is_some());
    }

    /// Reads one chunk; false when there is nothing (more) to read.
    fn read_output(&mut self, stream: Stream, buffer: &mut Vec<u8>) -> bool {
        let source = match stream {
            Stream::Stdout if self.terminal.is_some() => &mut self.terminal,
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(fd) = source else { return false };
        match read(fd.as_fd(), buffer) {
            Ok(0) => *source = None,
            Ok(_) => {
                self.log.write(stream, buffer, SystemTime::now());
                for attachment in &mut self.attached {
                    let sink = attachment.sink(stream);
                    if sink.as_mut().is_some_and(|s| !s.push(buffer)) {
                        *sink = None;
                    }
                }
                return true;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // A terminal answers EIO when its other side is closed.
            Err(_) => *source = None,
        }
        false
    }

    fn write_input(&mut self) {
        let fd = self.terminal.as_ref().or(self.stdin.as_ref());
        if fd.is_some_and(|fd| !write_out(fd.as_fd(), &mut self.input)) {
            self.input.clear();
            self.stdin = None;
        }
    }

    fn read_attached(&mut self, index: usize, buffer: &mut Vec<u8>) {
        let Some(attachment) = self.attached.get_mut(index) else { return };
        let Some(fd) = &attachment.stdin else { return };
        match read(fd.as_fd(), buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(n) if n > 0 => {
                self.input.extend_from_slice(buffer);
                self.write_input();
            }
            _ => {
                attachment.stdin = None;
                if self.stdin_once && self.terminal.is_none() {
                    self.stdin = None;
                } else {
                    // Who has no more to say leaves (containerd's rule); the container's input
                    // stays open for the next.
                    (attachment.stdout, attachment.stderr) = (None, None);
                }
            }
        }
    }

    /// Reads what is still in the pipes after the first process ended, closes everything, and
    /// returns what attached readers did not take yet.
    pub fn finish(mut self, buffer: &mut Vec<u8>) -> Vec<Sink> {
        // Bounded: a process that escaped with the pipe could write for ever.
        for _ in 0..1024 {
            let out = self.read_output(Stream::Stdout, buffer);
            let err = self.read_output(Stream::Stderr, buffer);
            if !out && !err {
                break;
            }
        }
        self.log.finish(SystemTime::now());
        let sinks = self.attached.into_iter().flat_map(|a| [a.stdout, a.stderr]);
        sinks.flatten().filter_map(Sink::drain).collect()
    }
}

impl Attachment {
    fn sink(&mut self, stream: Stream) -> &mut Option<Sink> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

fn read(fd: BorrowedFd, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.resize(CHUNK, 0);
    let n = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut buffer[..]))?;
    buffer.truncate(n);
    Ok(n)
}

/// Writes without blocking and keeps the rest; false when nobody reads any more.
fn write_out(fd: BorrowedFd, pending: &mut Vec<u8>) -> bool {
    while !pending.is_empty() {
        match rustix::io::write(fd, pending) {
            Ok(n) => drop(pending.drain(..n)),
            Err(Errno::INTR) => {}
            Err(e) => return e == Errno::AGAIN,
        }
    }
    true
}
