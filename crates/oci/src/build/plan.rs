//! The stages of a Dockerfile, and which of them are needed.

use std::collections::BTreeSet;

use super::dockerfile::{Command, Dockerfile, Instruction};
use crate::error::{Error, Result};

/// `FROM` and what follows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Stage {
    pub line: usize,
    pub text: String,
    /// Variables not yet replaced.
    pub image: String,
    pub platform: Option<String>,
    pub name: Option<String>,
    pub instructions: Vec<Instruction>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// `ARG`s before the first `FROM`.
    pub globals: Vec<(String, Option<String>)>,
    pub stages: Vec<Stage>,
    pub escape: char,
    /// The stage that becomes the image.
    pub target: usize,
}

impl Plan {
    pub fn new(file: Dockerfile, target: Option<&str>, name: &str) -> Result<Plan> {
        let fault = |line: usize, reason: &str| Error::Dockerfile {
            file: name.to_owned(),
            line,
            reason: reason.to_owned(),
        };
        let mut plan =
            Plan { globals: Vec::new(), stages: Vec::new(), escape: file.escape, target: 0 };
        let first_line = file.instructions.first().map_or(1, |i| i.line);
        for instruction in file.instructions {
            let Instruction { line, text, command } = instruction;
            match (command, plan.stages.last_mut()) {
                (Command::From { platform, image, name: stage }, _) => {
                    if stage.is_some() && plan.stages.iter().any(|s| s.name == stage) {
                        return Err(fault(line, "duplicate name of build stage"));
                    }
                    let instructions = Vec::new();
                    plan.stages.push(Stage {
                        line,
                        text,
                        image,
                        platform,
                        name: stage,
                        instructions,
                    });
                }
                (Command::Arg(args), None) => plan.globals.extend(args),
                (_, None) => {
                    return Err(fault(
                        line,
                        "no build stage in current context: FROM must come first",
                    ));
                }
                (command, Some(stage)) => {
                    stage.instructions.push(Instruction { line, text, command })
                }
            }
        }
        if plan.stages.is_empty() {
            return Err(fault(first_line, "no build stage: there is no FROM"));
        }
        plan.target = match target {
            None => plan.stages.len() - 1,
            Some(wanted) => plan.find(wanted, plan.stages.len()).ok_or_else(|| {
                Error::Invalid(format!("target stage {wanted:?} could not be found"))
            })?,
        };
        Ok(plan)
    }

    /// A stage before `before` by name or number.
    pub fn find(&self, name: &str, before: usize) -> Option<usize> {
        let lower = name.to_ascii_lowercase();
        let by_name = self.stages.iter().position(|s| s.name.as_deref() == Some(&lower));
        by_name.or_else(|| name.parse::<usize>().ok()).filter(|i| *i < before)
    }

    /// The stage that `FROM` names, if it is one; numbers do not count there.
    pub fn base_stage(&self, image: &str, before: usize) -> Option<usize> {
        let lower = image.to_ascii_lowercase();
        self.stages[..before].iter().position(|s| s.name.as_deref() == Some(&lower))
    }

    /// The stages that the target needs, in order. Names with variables are left to the build,
    /// which finds them among earlier stages: so all of these count as needed.
    pub fn needed(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::from([self.target]);
        let mut todo = vec![self.target];
        while let Some(at) = todo.pop() {
            let stage = &self.stages[at];
            let mut names: Vec<String> = Vec::new();
            let mut add = |found: Option<usize>| {
                if let Some(i) = found
                    && needed.insert(i)
                {
                    todo.push(i);
                }
            };
            if stage.image.contains('$') {
                (0..at).for_each(|i| add(Some(i)));
            }
            add(self.base_stage(&stage.image, at));
            for instruction in &stage.instructions {
                names.extend(sources(&instruction.command));
            }
            for name in names {
                if name.contains('$') {
                    (0..at).for_each(|i| add(Some(i)));
                }
                add(self.find(&name, at));
            }
        }
        needed
    }
}

/// What an instruction copies or mounts from.
fn sources(command: &Command) -> Vec<String> {
    match command {
        Command::Copy(copy) => copy.from.iter().cloned().collect(),
        Command::Run(run) => {
            let parts = run.mounts.iter().flat_map(|m| m.split(','));
            parts.filter_map(|p| p.strip_prefix("from=")).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, target: Option<&str>) -> Result<Plan> {
        Plan::new(super::super::dockerfile::parse(text, "D")?, target, "D")
    }

    #[test]
    fn only_what_the_target_needs() {
        let text = "ARG V=1\nFROM a AS one\nFROM b AS two\nFROM one AS three\nCOPY --from=two x y\n\
                    FROM c AS four\nRUN --mount=type=bind,from=1,target=/m x\n";
        let p = plan(text, None).unwrap();
        assert_eq!(p.needed(), BTreeSet::from([1, 3]));
        assert_eq!(plan(text, Some("Three")).unwrap().needed(), BTreeSet::from([0, 1, 2]));
        assert_eq!(p.globals, [("V".to_owned(), Some("1".to_owned()))]);
        assert!(plan(text, Some("five")).is_err());
    }

    #[test]
    fn faults() {
        for (text, message) in [
            ("RUN x", "D:1: no build stage in current context: FROM must come first"),
            ("ARG x", "D:1: no build stage: there is no FROM"),
            ("FROM a AS b\nFROM c AS B", "D:2: duplicate name of build stage"),
        ] {
            assert_eq!(plan(text, None).unwrap_err().to_string(), message);
        }
    }
}
