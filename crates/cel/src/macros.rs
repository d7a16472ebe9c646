//! Calls that the parser turns into nodes of their own.

use alloc::boxed::Box;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::ast::{Expr, Fold, FoldKind, Kind};
use crate::parser::Parser;

/// What became of a call.
pub(crate) enum Expansion {
    /// A macro; `None` where an error was reported.
    Done(Option<Expr>),
    NotAMacro(Option<Expr>, Vec<Expr>),
}

pub(crate) fn expand(
    parser: &mut Parser<'_>,
    at: u32,
    function: &str,
    target: Option<Expr>,
    mut args: Vec<Expr>,
) -> Expansion {
    if function == "has" && target.is_none() && args.len() == 1 {
        return Expansion::Done(has(parser, args.remove(0)));
    }
    if parser.bindings && function == "bind" && args.len() == 3 && is_cel(target.as_ref()) {
        return Expansion::Done(bind(parser, at, args));
    }
    let Some((vars, kind)) = shape(function, args.len()) else {
        return Expansion::NotAMacro(target, args);
    };
    let Some(range) = target else {
        return Expansion::NotAMacro(None, args);
    };
    let mut args = args.into_iter();
    let mut names = Vec::with_capacity(vars);
    for arg in args.by_ref().take(vars) {
        match arg.kind {
            Kind::Ident(name) => names.push(name),
            _ => {
                let text = if function.starts_with("opt") {
                    "optMap() variable name must be a simple identifier"
                } else {
                    "argument must be a simple name"
                };
                parser.issues.report(arg.at, text);
                return Expansion::Done(None);
            }
        }
    }
    let (last, before) = (args.next_back(), args.next());
    let mut names = names.into_iter();
    let (Some(body), Some(var)) = (last, names.next()) else { return Expansion::Done(None) };
    let node = match kind {
        Shape::Opt { flat } => {
            Kind::OptMap { target: Box::new(range), var, body: Box::new(body), flat }
        }
        Shape::Fold(kind) => fold(kind, range, var, names.next(), before, body),
        Shape::Filter => {
            let item = Expr { at: body.at, height: 1, kind: Kind::Ident(var.clone()) };
            fold(FoldKind::List, range, var, None, Some(body), item)
        }
    };
    Expansion::Done(parser.node(at, node))
}

fn is_cel(target: Option<&Expr>) -> bool {
    matches!(target, Some(Expr { kind: Kind::Ident(name), .. }) if name == "cel")
}

/// `cel.bind(var, init, body)`.
fn bind(parser: &mut Parser<'_>, at: u32, args: Vec<Expr>) -> Option<Expr> {
    let [var, init, body] = <[Expr; 3]>::try_from(args).ok()?;
    let Kind::Ident(name) = var.kind else {
        parser.issues.report(var.at, "cel.bind() variable names must be simple identifiers");
        return None;
    };
    let bind = Kind::Bind { var: name, init: Box::new(init), body: Box::new(body) };
    parser.node(at, bind)
}

enum Shape {
    Fold(FoldKind),
    Filter,
    Opt { flat: bool },
}

/// The number of variables of a macro with that many arguments, and what it makes.
fn shape(function: &str, args: usize) -> Option<(usize, Shape)> {
    use FoldKind::{All, Exists, ExistsOne, List, MapEntries, MapValues};
    let fold = |vars, kind| Some((vars, Shape::Fold(kind)));
    match (function, args) {
        ("all", 2 | 3) => fold(args - 1, All),
        ("exists", 2 | 3) => fold(args - 1, Exists),
        ("exists_one", 2) | ("existsOne", 2) => fold(1, ExistsOne),
        ("existsOne", 3) => fold(2, ExistsOne),
        ("map", 2 | 3) => fold(1, List),
        ("filter", 2) => Some((1, Shape::Filter)),
        ("transformList", 3 | 4) => fold(2, List),
        ("transformMap", 3 | 4) => fold(2, MapValues),
        ("transformMapEntry", 3 | 4) => fold(2, MapEntries),
        ("optMap", 2) => Some((1, Shape::Opt { flat: false })),
        ("optFlatMap", 2) => Some((1, Shape::Opt { flat: true })),
        _ => None,
    }
}

fn fold(
    kind: FoldKind,
    range: Expr,
    var: SmolStr,
    var2: Option<SmolStr>,
    filter: Option<Expr>,
    body: Expr,
) -> Kind {
    Kind::Fold(Box::new(Fold { kind, range, var, var2, filter, body }))
}

fn has(parser: &mut Parser<'_>, arg: Expr) -> Option<Expr> {
    let (at, height) = (arg.at, arg.height);
    match arg.kind {
        Kind::Select(mut select) if !select.optional && !select.test => {
            select.test = true;
            Some(Expr { at, height, kind: Kind::Select(select) })
        }
        _ => {
            parser.issues.report(at, "invalid argument to has() macro");
            None
        }
    }
}
