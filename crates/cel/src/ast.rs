//! The syntax tree of an expression. Macros are nodes of their own: the checker and the evaluator
//! then need no accumulators.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use regex_lite::Regex;
use smol_str::SmolStr;

use crate::functions::Function;

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// The position in the source, in characters: an operator's sign, a call's parenthesis.
    pub at: u32,
    /// The height of the tree, which the parser bounds.
    pub height: u16,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(SmolStr),
    Select(Select),
    /// `a[b]`, `a[?b]`.
    Index {
        operand: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    Call(Call),
    /// `a && b && c`; `a || b || c`.
    Logic {
        or: bool,
        terms: Vec<Expr>,
    },
    Conditional(Box<[Expr; 3]>),
    List(Vec<Item>),
    Map(Vec<Entry>),
    /// `Name{field: value}`; no types can be made in Kubernetes, so the checker refuses it.
    Struct {
        name: SmolStr,
    },
    Fold(Box<Fold>),
    /// `cel.bind(var, init, body)`.
    Bind {
        var: SmolStr,
        init: Box<Expr>,
        body: Box<Expr>,
    },
    /// `x.optMap(v, e)`, `x.optFlatMap(v, e)`.
    OptMap {
        target: Box<Expr>,
        var: SmolStr,
        body: Box<Expr>,
        flat: bool,
    },
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(SmolStr),
    Bytes(Arc<[u8]>),
}

/// `a.b`, `a.?b`, `has(a.b)`.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub operand: Box<Expr>,
    pub field: SmolStr,
    pub test: bool,
    pub optional: bool,
}

/// A call of a function; operators are functions with names such as `_+_`.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub function: SmolStr,
    pub target: Option<Box<Expr>>,
    pub args: Vec<Expr>,
    /// The implementations that have the name; set by the compiler.
    pub run: Vec<&'static Function>,
    /// The pattern, where it is a literal.
    pub regex: Option<Arc<Regex>>,
}

/// An item of a list literal; `?x` is optional.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub value: Expr,
    pub optional: bool,
}

/// An entry of a map literal.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// What a comprehension makes of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// `map`, `filter` and `transformList`: a list.
    List,
    /// `transformMap`: values of a map.
    MapValues,
    /// `transformMapEntry`: maps of one entry, merged.
    MapEntries,
}

/// A comprehension: `range.all(x, body)`, `range.map(x, filter, body)` and so on.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub kind: FoldKind,
    pub range: Expr,
    pub var: SmolStr,
    /// The second variable of a comprehension over keys (or indexes) and values.
    pub var2: Option<SmolStr>,
    pub filter: Option<Expr>,
    pub body: Expr,
}

impl Expr {
    /// Calls `visit` on the expression and everything in it.
    pub fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        visit(self);
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Struct { .. } => {}
            Kind::Select(s) => s.operand.walk(visit),
            Kind::Index { operand, index, .. } => {
                operand.walk(visit);
                index.walk(visit);
            }
            Kind::Call(call) => {
                call.target.iter().for_each(|t| t.walk(visit));
                call.args.iter().for_each(|a| a.walk(visit));
            }
            Kind::Logic { terms, .. } => terms.iter().for_each(|t| t.walk(visit)),
            Kind::Conditional(parts) => parts.iter().for_each(|p| p.walk(visit)),
            Kind::List(items) => items.iter().for_each(|i| i.value.walk(visit)),
            Kind::Map(entries) => entries.iter().for_each(|e| {
                e.key.walk(visit);
                e.value.walk(visit);
            }),
            Kind::Fold(fold) => {
                fold.range.walk(visit);
                fold.filter.iter().for_each(|f| f.walk(visit));
                fold.body.walk(visit);
            }
            Kind::Bind { init, body, .. } => {
                init.walk(visit);
                body.walk(visit);
            }
            Kind::OptMap { target, body, .. } => {
                target.walk(visit);
                body.walk(visit);
            }
        }
    }
}
