//! Authorization checks: `authorizer.group("").resource("pods").check("create").allowed()`. Who
//! decides is the caller's [`Authorizer`].

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use smol_str::SmolStr;

use super::Opaque;
use crate::error::EvalError;
use crate::functions::{Function, Out, Site, function};
use crate::value::Val;

/// The type of the variable `authorizer`.
pub(crate) const TYPE: &str = "kubernetes.authorization.Authorizer";
/// The type of the variable `authorizer.requestResource`.
pub(crate) const RESOURCE_TYPE: &str = "kubernetes.authorization.ResourceCheck";

/// Answers the questions of expressions.
pub trait Authorizer: Sync {
    /// Whether the user of the request, or the service account, may do that.
    fn check(&self, question: &Question) -> Decision;
}

/// What an expression asks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// Namespace and name of a service account that is asked about instead of the user.
    pub service_account: Option<(SmolStr, SmolStr)>,
    /// A path that is no resource; then only the verb is set besides.
    pub path: Option<SmolStr>,
    pub verb: SmolStr,
    pub group: SmolStr,
    pub resource: SmolStr,
    pub subresource: SmolStr,
    pub namespace: SmolStr,
    pub name: SmolStr,
    pub field_selector: Option<SmolStr>,
    pub label_selector: Option<SmolStr>,
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// A question on its way, and who answers it.
#[derive(Clone)]
pub struct Check<'a> {
    authorizer: &'a dyn Authorizer,
    question: Arc<Question>,
}

impl fmt::Debug for Check<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.question.fmt(f)
    }
}

impl<'a> Val<'a> {
    /// The variable `authorizer`.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Self {
        Val::Opaque(Opaque::Authorizer(Check { authorizer, question: Arc::default() }))
    }

    /// The variable `authorizer.requestResource`: a question with all but the verb.
    pub fn resource_check(authorizer: &'a dyn Authorizer, question: Question) -> Self {
        Val::Opaque(Opaque::ResourceCheck(Check { authorizer, question: Arc::new(question) }))
    }
}

pub(crate) const FUNCTIONS: &[Function] = &[
    function("path", &[".as:P"], path),
    function("group", &[".as:G"], group),
    function("serviceAccount", &[".ass:a"], service_account),
    function("resource", &[".Gs:R"], resource),
    function("subresource", &[".Rs:R"], |args, _| more(args, |q, s| q.subresource = s)),
    function("namespace", &[".Rs:R"], |args, _| more(args, |q, s| q.namespace = s)),
    function("name", &[".Rs:R"], |args, _| more(args, |q, s| q.name = s)),
    function("fieldSelector", &[".Rs:R"], |args, _| more(args, |q, s| q.field_selector = Some(s))),
    function("labelSelector", &[".Rs:R"], |args, _| more(args, |q, s| q.label_selector = Some(s))),
    function("check", &[".Ps:O", ".Rs:O"], check),
    function("allowed", &[".O:b"], |args, _| of(args, |d| d.allowed.into())),
    function("errored", &[".O:b"], |args, _| of(args, |d| d.error.is_some().into())),
    function("error", &[".O:s"], |args, _| {
        of(args, |d| d.error.clone().unwrap_or_default().into())
    }),
    function("reason", &[".O:s"], |args, _| of(args, |d| d.reason.clone().into())),
];

impl<'a> Check<'a> {
    fn with(&self, change: impl FnOnce(&mut Question)) -> Check<'a> {
        let mut question = Question::clone(&self.question);
        change(&mut question);
        Check { authorizer: self.authorizer, question: Arc::new(question) }
    }
}

fn path<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Authorizer(_)), Val::Str(path)] if path.is_empty() => {
            Err(EvalError::new("path must not be empty"))
        }
        [Val::Opaque(Opaque::Authorizer(check)), Val::Str(path)] => {
            let check = check.with(|q| q.path = Some(path.clone()));
            Ok(Val::Opaque(Opaque::PathCheck(check)))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn group<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Authorizer(check)), Val::Str(group)] => {
            Ok(Val::Opaque(Opaque::GroupCheck(check.with(|q| q.group = group.clone()))))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn service_account<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    let [Val::Opaque(Opaque::Authorizer(check)), Val::Str(namespace), Val::Str(name)] = args else {
        return Err(EvalError::NoSuchOverload);
    };
    if let Some(why) = timonier_meta::names::dns1123_label(namespace).first() {
        return Err(EvalError::new(alloc::format!("Invalid service account namespace: {why}")));
    }
    if let Some(why) = timonier_meta::names::dns1123_subdomain(name).first() {
        return Err(EvalError::new(alloc::format!("Invalid service account name: {why}")));
    }
    let account = (namespace.clone(), name.clone());
    Ok(Val::Opaque(Opaque::Authorizer(check.with(|q| q.service_account = Some(account)))))
}

fn resource<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::GroupCheck(check)), Val::Str(resource)] => {
            Ok(Val::Opaque(Opaque::ResourceCheck(check.with(|q| q.resource = resource.clone()))))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn more<'a>(args: &[Val<'a>], set: fn(&mut Question, SmolStr)) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::ResourceCheck(check)), Val::Str(text)] => {
            Ok(Val::Opaque(Opaque::ResourceCheck(check.with(|q| set(q, text.clone())))))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn check<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::ResourceCheck(check) | Opaque::PathCheck(check)), Val::Str(verb)] => {
            let asked = check.with(|q| q.verb = verb.clone());
            let decision = asked.authorizer.check(&asked.question);
            Ok(Val::Opaque(Opaque::Decision(Arc::new(decision))))
        }
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn of<'a>(args: &[Val<'a>], run: fn(&Decision) -> Val<'a>) -> Out<'a> {
    match args {
        [Val::Opaque(Opaque::Decision(decision))] => Ok(run(decision)),
        _ => Err(EvalError::NoSuchOverload),
    }
}
