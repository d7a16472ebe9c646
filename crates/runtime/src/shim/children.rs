//! Starts that succeed or fail, and processes that end.

use std::time::SystemTime;

use std::os::fd::AsFd;

use super::protocol::{Answer, Message};
use super::{Exec, Kind, Shim, Starting, wire};
use crate::api::Exit;
use crate::files::{self, ExitRecord};
use crate::init::Report;

/// Ends remembered for starts that are not reported yet.
const MAX_EARLY: usize = 4096;

impl Shim {
    /// A starting child said something, or has become what it should be.
    pub(super) fn report(&mut self, id: u64) {
        let Some(starting) = self.starting.get_mut(&id) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = wire::receive::<Report>(&starting.sync, &mut buffer);
        self.buffer = buffer;
        match received {
            Ok(Some((Report::Pid(pid), _))) => starting.pid = Some(pid),
            Ok(Some((Report::Terminal, mut fds))) => starting.terminal = fds.pop(),
            Ok(Some((Report::Failed(text), _))) => starting.failure = Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => {
                if let Some(starting) = self.starting.remove(&id) {
                    self.started(starting);
                }
                if self.starting.is_empty() {
                    self.early.clear();
                }
            }
        }
    }

    /// The channel closed: `execve` happened, or the child died.
    fn started(&mut self, starting: Starting) {
        let outcome = match (starting.failure, starting.pid) {
            (Some(text), _) => Err(text),
            (None, None) => Err("the process died before it could start".to_string()),
            (None, Some(pid)) => Ok(pid),
        };
        let early = starting.pid.and_then(|pid| self.early.remove(&pid));
        let (client, id) = (starting.client, starting.request);
        let terminal = starting.terminal;
        match (starting.kind, outcome) {
            (Kind::Container(container), Ok(pid)) => {
                let started_at = self.running_now(&container, pid, terminal);
                let answer = Answer::Started { pid, started_at };
                self.send(client, &Message::Reply { id, result: Ok(answer) }, &[]);
                if let Some(status) = early {
                    self.container_ended(&container, status);
                }
            }
            (Kind::Container(container), Err(text)) => {
                self.container_failed(&container, &text);
                self.send(client, &Message::Reply { id, result: Err(text) }, &[]);
            }
            (Kind::Exec(exec), Ok(pid)) => {
                let answer = Answer::ExecStarted { pid };
                let fds: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                self.send(client, &Message::Reply { id, result: Ok(answer) }, &fds);
                self.execs.insert(exec.clone(), Exec { pid, client });
                if let Some(status) = early {
                    self.exec_ended(exec, status);
                }
            }
            (Kind::Exec(_), Err(text)) => {
                self.send(client, &Message::Reply { id, result: Err(text) }, &[]);
            }
        }
    }

    /// Collects every child that ended.
    pub(super) fn reap(&mut self) {
        // The descriptor only says that something happened; how much is asked below.
        let mut info = [0u8; 1024];
        while rustix::io::read(&self.children, &mut info[..]).is_ok_and(|n| n > 0) {}
        loop {
            let mut status = 0;
            // SAFETY: asks for any child without waiting.
            let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            self.ended(pid, status);
        }
    }

    fn ended(&mut self, pid: i32, status: libc::c_int) {
        if self.helpers.remove(&pid) {
            return;
        }
        let exec = self.execs.iter().find(|(_, e)| e.pid == pid).map(|(id, _)| id.clone());
        if let Some(exec) = exec {
            return self.exec_ended(exec, status);
        }
        let running = self.containers.iter().find(|(_, c)| c.exit.is_none() && c.pid == Some(pid));
        if let Some(container) = running.map(|(id, _)| id.clone()) {
            return self.container_ended(&container, status);
        }
        if !self.starting.is_empty() && self.early.len() < MAX_EARLY {
            self.early.insert(pid, status);
        }
    }

    fn exec_ended(&mut self, exec: String, status: libc::c_int) {
        if let Some(Exec { client, .. }) = self.execs.remove(&exec) {
            let (code, _) = decode(status);
            self.send(client, &Message::ExecExited { exec, code }, &[]);
        }
    }

    fn container_ended(&mut self, id: &str, status: libc::c_int) {
        let Some(container) = self.containers.get(id) else { return };
        let cgroup = container.plan.cgroup.clone();
        if !container.own_pids {
            self.cgroups.kill(&cgroup);
        }
        let (code, signal) = decode(status);
        let oom_killed = self.cgroups.oom_kills(&cgroup) > 0;
        let reason = match (oom_killed, code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            _ => "Error",
        };
        let exit = Exit {
            code,
            signal,
            oom_killed,
            reason: reason.into(),
            message: String::new(),
            finished_at: SystemTime::now(),
        };
        self.record(id, exit);
    }

    fn container_failed(&mut self, id: &str, text: &str) {
        let exit = Exit {
            code: 128,
            signal: None,
            oom_killed: false,
            reason: "StartError".into(),
            message: text.into(),
            finished_at: SystemTime::now(),
        };
        self.record(id, exit);
    }

    /// Last output, then the record on disk, then the news.
    fn record(&mut self, id: &str, exit: Exit) {
        let path = self.container_dir(id).join(files::EXIT);
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(container) = self.containers.get_mut(id) else { return };
        if let Some(streams) = container.streams.take() {
            self.draining.extend(streams.finish(&mut buffer));
        }
        self.buffer = buffer;
        container.exit = Some(exit.clone());
        container.pidfd = None;
        let started_at = container.started_at;
        let record = ExitRecord { started_at, exit: exit.clone() };
        // A full disk must not keep the daemon from knowing.
        let _ = files::write_json(&path, &record);
        self.broadcast(&Message::Exited { container: id.into(), started_at, exit });
    }
}

/// Exit code and signal as shells count them.
fn decode(status: libc::c_int) -> (i32, Option<i32>) {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        (128 + signal, Some(signal))
    } else {
        (libc::WEXITSTATUS(status), None)
    }
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn statuses() {
        assert_eq!(decode(0), (0, None));
        assert_eq!(decode(3 << 8), (3, None));
        assert_eq!(decode(9), (137, Some(9)));
    }
}
