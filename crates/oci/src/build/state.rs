//! What a stage has come to, and the instructions that change only the configuration.

use std::collections::BTreeMap;

use super::dockerfile::{Command, Form, command::Health, expand, expand_words};
use crate::config::{ConfigFile, Empty, Healthcheck, History};
use crate::digest::Digest;
use crate::manifest::Descriptor;

/// PATH where an image says none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Clone, Debug, Default)]
pub struct State {
    pub config: ConfigFile,
    /// Chain ids of the layers, lowest first.
    pub chain: Vec<Digest>,
    pub layers: Vec<Descriptor>,
    /// `ARG`s declared in this stage that have a value.
    pub args: BTreeMap<String, String>,
    /// `CMD` was given in this stage, so `ENTRYPOINT` leaves it.
    pub cmd_set: bool,
    /// When the last layer was made, RFC 3339.
    pub created: String,
}

impl State {
    /// A variable: the environment goes before arguments.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let from_env = self.config.config.env_var(name).map(str::to_owned);
        let given = from_env.or_else(|| self.args.get(name).cloned());
        // Commands get a PATH in any case, so `ENV PATH=/x:$PATH` must see it.
        given.or_else(|| (name == "PATH").then(|| DEFAULT_PATH.to_owned()))
    }

    /// Replaces variables in one word.
    pub fn expand(&self, text: &str, escape: char) -> Result<String, String> {
        expand(text, escape, &|name| self.lookup(name))
    }

    pub fn working_dir(&self) -> String {
        let dir = &self.config.config.working_dir;
        if dir.is_empty() { "/".to_owned() } else { dir.clone() }
    }

    pub fn shell(&self) -> Vec<String> {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        self.config.config.shell.clone().unwrap_or_else(default)
    }

    /// The command line of a form.
    pub fn argv(&self, form: &Form) -> Vec<String> {
        match form {
            Form::Exec(list) => list.clone(),
            Form::Shell(text) => {
                let mut argv = self.shell();
                argv.push(text.clone());
                argv
            }
        }
    }

    pub fn note(&mut self, by: String, empty_layer: bool) {
        self.config.history.push(History {
            created: Some(self.created.clone()),
            created_by: Some(by),
            comment: Some("timonier".to_owned()),
            empty_layer,
            ..History::default()
        });
    }

    /// Does an instruction that changes the configuration alone; `None` for the others. The
    /// result is the text for the history.
    pub fn apply(&mut self, command: &Command, escape: char) -> Result<Option<String>, String> {
        let text = match command {
            Command::Env(pairs) => self.env(pairs, escape)?,
            Command::Label(pairs) => self.label(pairs, escape)?,
            Command::User(user) => {
                let user = self.expand(user, escape)?;
                if user.is_empty() {
                    return Err("USER must not be empty".to_owned());
                }
                self.config.config.user = user.clone();
                format!("USER {user}")
            }
            Command::Expose(ports) => self.expose(ports, escape)?,
            Command::Volume(form) => self.volume(form, escape)?,
            Command::Entrypoint(form) => {
                let argv = self.argv(form);
                if !self.cmd_set {
                    self.config.config.cmd = None;
                }
                let text = format!("ENTRYPOINT {argv:?}");
                self.config.config.entrypoint = (!argv.is_empty()).then_some(argv);
                text
            }
            Command::Cmd(form) => {
                let argv = self.argv(form);
                self.cmd_set = true;
                let text = format!("CMD {argv:?}");
                self.config.config.cmd = Some(argv);
                text
            }
            Command::Shell(argv) => {
                self.config.config.shell = Some(argv.clone());
                format!("SHELL {argv:?}")
            }
            Command::Healthcheck(health) => self.healthcheck(health),
            Command::Stopsignal(signal) => {
                let signal = self.expand(signal, escape)?;
                check_signal(&signal)?;
                self.config.config.stop_signal = signal.clone();
                format!("STOPSIGNAL {signal}")
            }
            Command::Onbuild(trigger) => {
                self.config.config.on_build.push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Command::Maintainer(name) => {
                self.config.other.insert("author".to_owned(), name.clone().into());
                format!("MAINTAINER {name}")
            }
            _ => return Ok(None),
        };
        Ok(Some(text))
    }

    /// All values of one instruction see the environment before it.
    fn env(&mut self, pairs: &[(String, String)], escape: char) -> Result<String, String> {
        let mut text = "ENV".to_owned();
        let mut new = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (self.expand(name, escape)?, self.expand(value, escape)?);
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!("ENV: malformed variable {name:?}"));
            }
            text.push_str(&format!(" {name}={value}"));
            new.push((name, value));
        }
        for (name, value) in new {
            self.config.config.set_env(&name, &value);
        }
        Ok(text)
    }

    fn label(&mut self, pairs: &[(String, String)], escape: char) -> Result<String, String> {
        let mut text = "LABEL".to_owned();
        for (name, value) in pairs {
            let (name, value) = (self.expand(name, escape)?, self.expand(value, escape)?);
            text.push_str(&format!(" {name}={value}"));
            self.config.config.labels.insert(name, value);
        }
        Ok(text)
    }

    fn expose(&mut self, ports: &str, escape: char) -> Result<String, String> {
        let words = expand_words(ports, escape, &|name| self.lookup(name))?;
        for word in &words {
            for port in port_range(word)? {
                self.config.config.exposed_ports.insert(port, Empty {});
            }
        }
        Ok(format!("EXPOSE {}", words.join(" ")))
    }

    fn volume(&mut self, form: &Form, escape: char) -> Result<String, String> {
        let volumes = match form {
            Form::Exec(list) => {
                let mut out = Vec::new();
                for word in list {
                    out.push(self.expand(word, escape)?);
                }
                out
            }
            Form::Shell(text) => expand_words(text, escape, &|name| self.lookup(name))?,
        };
        for volume in &volumes {
            if volume.trim().is_empty() {
                return Err("VOLUME specified can not be an empty string".to_owned());
            }
            self.config.config.volumes.insert(volume.clone(), Empty {});
        }
        Ok(format!("VOLUME {volumes:?}"))
    }

    fn healthcheck(&mut self, health: &Health) -> String {
        let check = match health {
            Health::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
            Health::Check { check, command } => {
                let mut check = check.clone();
                check.test = match command {
                    Form::Exec(list) => [&["CMD".to_owned()], &list[..]].concat(),
                    Form::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                };
                check
            }
        };
        let text = format!("HEALTHCHECK {:?}", check.test);
        self.config.config.healthcheck = Some(check);
        text
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn port_range(word: &str) -> Result<Vec<String>, String> {
    let bad = || format!("invalid containerPort: {word}");
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high): (u16, u16) =
        (low.parse().map_err(|_| bad())?, high.parse().map_err(|_| bad())?);
    if low > high {
        return Err(bad());
    }
    Ok((low..=high).map(|port| format!("{port}/{protocol}")).collect())
}

fn check_signal(signal: &str) -> Result<(), String> {
    let known = [
        "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
        "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP",
        "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = signal.parse::<u32>().is_ok_and(|n| (1..=64).contains(&n));
    let real_time = name.starts_with("RTMIN") || name.starts_with("RTMAX");
    if number || real_time || known.contains(&name) {
        return Ok(());
    }
    Err(format!("invalid signal: {signal}"))
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::parse_one;
    use super::*;

    fn apply(state: &mut State, text: &str) -> Result<Option<String>, String> {
        state.apply(&parse_one(text).unwrap(), '\\')
    }

    #[test]
    fn configuration_instructions() {
        let mut state = State::default();
        state.args.insert("V".into(), "arg".into());
        for text in [
            "ENV A=1 B=\"$V x\"",
            "ENV A=2 C=$A",
            "LABEL k=\"v w\" l=$B",
            "EXPOSE 80 ${A}0-21/UDP",
            "VOLUME /a $C",
            "CMD run it",
            "ENTRYPOINT [\"/e\", \"$A\"]",
            "USER ${V}:1",
            "STOPSIGNAL SIGQUIT",
            "HEALTHCHECK CMD [\"x\"]",
        ] {
            apply(&mut state, text).unwrap();
        }
        let c = &state.config.config;
        assert_eq!(c.env, ["A=2", "B=arg x", "C=1"]);
        assert_eq!(c.labels["l"], "arg x");
        let ports: Vec<&str> = c.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["20/udp", "21/udp", "80/tcp"]);
        assert!(c.volumes.contains_key("/a") && c.volumes.contains_key("1"));
        assert_eq!(c.cmd.as_deref().unwrap(), ["/bin/sh", "-c", "run it"]);
        assert_eq!(c.entrypoint.as_deref().unwrap(), ["/e", "$A"]);
        assert_eq!((c.user.as_str(), c.stop_signal.as_str()), ("arg:1", "SIGQUIT"));
        assert_eq!(c.healthcheck.as_ref().unwrap().test, ["CMD", "x"]);
    }

    #[test]
    fn entrypoint_drops_an_inherited_command() {
        let mut state = State::default();
        state.config.config.cmd = Some(vec!["inherited".into()]);
        apply(&mut state, "ENTRYPOINT x").unwrap();
        assert_eq!(state.config.config.cmd, None);
    }

    #[test]
    fn path_is_never_empty() {
        let mut state = State::default();
        apply(&mut state, "ENV PATH=/x:$PATH").unwrap();
        assert_eq!(state.config.config.env, [format!("PATH=/x:{DEFAULT_PATH}")]);
    }

    #[test]
    fn faults() {
        let mut state = State::default();
        for (text, reason) in [
            ("EXPOSE x", "invalid containerPort: x"),
            ("EXPOSE 80/xyz", "invalid proto: xyz"),
            ("EXPOSE 9-8", "invalid containerPort: 9-8"),
            ("STOPSIGNAL SIGX", "invalid signal: SIGX"),
            ("USER $none", "USER must not be empty"),
            ("ENV a=${x:?wanted}", "x: wanted"),
        ] {
            assert_eq!(apply(&mut state, text).unwrap_err(), reason);
        }
    }
}
