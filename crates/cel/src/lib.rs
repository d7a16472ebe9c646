//! The Common Expression Language as Kubernetes v1.35 uses it, on object values that are borrowed
//! and never converted.
//!
//! ```text
//! source ─lexer─► tokens ─parser, macros─► tree ─checker─► Program ─evaluator─► Val
//!                              functions, libraries ──┴────────────────┘
//! ```
//!
//! ```
//! use timonier_cel::{Budget, Environment, Program, Type, Val, Variables};
//! use timonier_object::value;
//! let environment = Environment::new().with("object", Type::Dyn);
//! let program = Program::compile("object.spec.replicas <= 5", &environment).unwrap();
//! let object = value!({ "spec": { "replicas": 3 } });
//! let variables = Variables::new().with("object", Val::data(&object));
//! let result = program.evaluate(&variables, &mut Budget::default()).unwrap();
//! assert_eq!(result.as_bool(), Some(true));
//! ```
//!
//! Invariants: no source and no data make it panic; the tree's height is bounded, so is the cost of
//! an evaluation, and with it its time and memory. Errors are cel-go's, texts and places.
//! Deliberately absent: making objects (`Name{field: value}`) and protocol buffers, `reverse`,
//! which Kubernetes does not switch on; named time zones and Unicode classes of patterns,
//! which answer with an error; admission policies and CRD rules, which use this crate.
#![no_std]
extern crate alloc;

mod ast;
mod checker;
mod compare;
mod cost;
mod environment;
mod error;
mod evaluator;
mod functions;
mod lexer;
mod libraries;
mod macros;
mod parser;
mod program;
mod time;
mod types;
mod value;

pub use environment::{Budget, Environment, Variables};
pub use error::{CompileErrors, EvalError, Issue};
pub use functions::regex::compile as compile_regex;
pub use libraries::Opaque;
pub use libraries::authorizer::{Authorizer, Decision, Question};
pub use program::Program;
pub use types::{Field, ListKind, ListType, ObjectType, Type, escape};
pub use value::{Joined, Key, List, Map, Shape, Val};
