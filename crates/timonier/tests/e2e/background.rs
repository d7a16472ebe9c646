//! Programs that run beside a case: followed, talked to, ended with their value.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::shell::{PATIENCE, Result, succeed};

/// What a program has written so far.
#[derive(Clone, Default)]
pub struct Written(Arc<(Mutex<(String, bool)>, Condvar)>);

impl Written {
    fn collect(source: impl Read + Send + 'static) -> Written {
        let written = Written::default();
        let to = written.clone();
        std::thread::spawn(move || to.read(source));
        written
    }

    fn read(&self, mut source: impl Read) {
        let (lock, changed) = &*self.0;
        let mut buffer = [0; 4096];
        loop {
            // A terminal whose other side is closed fails instead of ending.
            let count = source.read(&mut buffer).unwrap_or(0);
            let mut state = lock.lock().expect("the reader's lock");
            state.0.push_str(&String::from_utf8_lossy(&buffer[..count]));
            state.1 = count == 0;
            changed.notify_all();
            if count == 0 {
                return;
            }
        }
    }

    /// Waits until the text meets a condition or the program has closed its output.
    fn until<T>(&self, what: &str, mut ready: impl FnMut(&str, bool) -> Option<T>) -> Result<T> {
        let (lock, changed) = &*self.0;
        let deadline = Instant::now() + PATIENCE;
        let mut state = lock.lock().expect("the reader's lock");
        loop {
            if let Some(answer) = ready(&state.0, state.1) {
                return Ok(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.1 || left.is_zero() {
                return Err(format!("{what:?} did not come; there is:\n{}", state.0));
            }
            state = changed.wait_timeout(state, left).expect("the reader's lock").0;
        }
    }

    /// Waits until a text is there; takes everything up to its end away and gives it.
    pub fn expect(&self, text: &str) -> Result<String> {
        let end = self.until(text, |all, _| all.find(text).map(|at| at + text.len()))?;
        let mut state = self.0.0.lock().expect("the reader's lock");
        Ok(state.0.drain(..end).collect())
    }

    fn now(&self) -> String {
        self.0.0.lock().expect("the reader's lock").0.clone()
    }

    /// Waits for the end and gives what is left.
    pub fn to_end(&self) -> Result<String> {
        self.until("the end", |all, ended| ended.then(|| all.to_owned()))
    }
}

/// A program in the background. It is killed with the value.
pub struct Background {
    child: Child,
    stdout: Written,
    stderr: Written,
}

impl Background {
    pub fn start(command: &mut Command) -> Result<Background> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{command:?}: {e}"))?;
        let stdout = Written::collect(child.stdout.take().expect("a piped output"));
        let stderr = Written::collect(child.stderr.take().expect("a piped output"));
        Ok(Background { child, stdout, stderr })
    }

    /// Waits until a text is on the standard output; gives everything up to its end.
    pub fn expect(&self, text: &str) -> Result<String> {
        self.stdout.expect(text).map_err(|e| format!("{e}\nand as errors:\n{}", self.stderr.now()))
    }

    /// Writes to the standard input.
    pub fn send(&mut self, text: &str) -> Result {
        let stdin = self.child.stdin.as_mut().ok_or("the standard input is closed")?;
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).map_err(|e| e.to_string())
    }

    /// Closes the standard input.
    pub fn close(&mut self) {
        self.child.stdin = None;
    }

    /// Waits for the program's own end; gives its exit code.
    pub fn finish(mut self) -> Result<i32> {
        self.close();
        self.stdout.to_end()?;
        let status = self.child.wait().map_err(|e| e.to_string())?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program on a terminal of its own, as a person would run it.
pub struct Terminal {
    child: Child,
    keyboard: File,
    device: PathBuf,
    pub screen: Written,
}

impl Terminal {
    /// Starts a program on a terminal of so many rows and columns.
    pub fn start(command: &Command, rows: u16, columns: u16) -> Result<Terminal> {
        let text = |e: nix::Error| format!("a terminal: {e}");
        let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = nix::pty::openpty(Some(&size), None).map_err(text)?;
        let device = nix::unistd::ttyname(&pty.slave).map_err(text)?;
        let clone = |fd: &OwnedFd| fd.try_clone().map_err(|e| e.to_string());
        // The terminal belongs to a session: only then it tells the program that its size changed.
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        let child = inside
            .env("TERM", "xterm")
            .stdin(clone(&pty.slave)?)
            .stdout(clone(&pty.slave)?)
            .stderr(pty.slave)
            .spawn()
            .map_err(|e| format!("setsid: {e}"))?;
        let screen = Written::collect(File::from(clone(&pty.master)?));
        Ok(Terminal { child, keyboard: File::from(pty.master), device, screen })
    }

    /// Types a text.
    pub fn send(&mut self, text: &str) -> Result {
        self.keyboard.write_all(text.as_bytes()).map_err(|e| e.to_string())
    }

    /// Changes the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) -> Result {
        let mut stty = Command::new("stty");
        stty.arg("-F").arg(&self.device);
        stty.args(["rows", &rows.to_string(), "cols", &columns.to_string()]);
        succeed(&mut stty, "").map(drop)
    }

    /// Waits for the program's own end; gives its exit code.
    pub fn finish(mut self) -> Result<i32> {
        self.screen.to_end()?;
        let status = self.child.wait().map_err(|e| e.to_string())?;
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
