//! Tokens to the tree: recursive descent, with a precedence table for binary operators.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smol_str::SmolStr;

use crate::ast::{Call, Entry, Expr, Item, Kind, Literal, Select};
use crate::error::Issues;
use crate::functions;
use crate::lexer::{Spanned, Token, tokens};
use crate::macros;

/// Longer sources are refused, in characters. cel-go's limit.
const MAX_LENGTH: usize = 100_000;

/// Higher trees are refused. cel-go's limit.
const MAX_HEIGHT: u16 = 250;

/// What ANTLR prints where an operand is missing.
const OPERANDS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Names that are kept for later versions of the language.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The tree of a source; `None` where `issues` tells why there is none.
pub(crate) fn parse(source: &str, bindings: bool, issues: &mut Issues) -> Option<Expr> {
    let length = source.chars().count();
    if length > MAX_LENGTH {
        let limit =
            format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
        issues.report(0, limit);
        return None;
    }
    let tokens = tokens(source, issues);
    let mut parser = Parser { tokens, pos: 0, depth: 0, bindings, issues };
    let expr = parser.expr()?;
    let next = parser.peek().clone();
    if next.token != Token::End {
        let what = match parser.tokens.get(parser.pos + 1).map(|t| &t.token) {
            Some(Token::End) => "extraneous",
            _ => "mismatched",
        };
        let message = format!("Syntax error: {what} input '{}' expecting <EOF>", next.text);
        parser.issues.report(next.at, message);
    }
    parser.issues.is_empty().then_some(expr)
}

pub(crate) struct Parser<'a> {
    tokens: Vec<Spanned>,
    pos: usize,
    depth: u16,
    /// Whether there is `cel.bind`.
    pub bindings: bool,
    pub issues: &'a mut Issues,
}

/// Strength of a binary operator, and the name of its function.
fn binary(sign: &str) -> Option<(u8, &'static str)> {
    Some(match sign {
        "<" => (1, "_<_"),
        "<=" => (1, "_<=_"),
        ">" => (1, "_>_"),
        ">=" => (1, "_>=_"),
        "==" => (1, "_==_"),
        "!=" => (1, "_!=_"),
        "in" => (1, "@in"),
        "+" => (2, "_+_"),
        "-" => (2, "_-_"),
        "*" => (3, "_*_"),
        "/" => (3, "_/_"),
        "%" => (3, "_%_"),
        _ => return None,
    })
}

impl Parser<'_> {
    fn peek(&self) -> &Spanned {
        // The end token is never consumed.
        &self.tokens[self.pos.min(self.tokens.len() - 1)]
    }

    fn sign(&self) -> &'static str {
        match self.peek().token {
            Token::Sign(sign) => sign,
            _ => "",
        }
    }

    fn advance(&mut self) -> Spanned {
        let token = self.peek().clone();
        self.pos += usize::from(token.token != Token::End);
        token
    }

    /// Consumes a sign if it is next.
    fn eat(&mut self, sign: &str) -> bool {
        let found = self.sign() == sign;
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Option<()> {
        if self.eat(sign) {
            return Some(());
        }
        let next = self.peek().clone();
        let message = match next.token {
            Token::End => format!("Syntax error: missing '{sign}' at '<EOF>'"),
            _ => format!("Syntax error: mismatched input '{}' expecting '{sign}'", next.text),
        };
        self.issues.report(next.at, message);
        None
    }

    /// A node; `None` where the tree gets too high.
    pub fn node(&mut self, at: u32, kind: Kind) -> Option<Expr> {
        let height = 1 + height(&kind);
        if height > MAX_HEIGHT {
            return self.too_deep();
        }
        Some(Expr { at, height, kind })
    }

    fn too_deep<T>(&mut self) -> Option<T> {
        self.issues.report(0, format!("expression recursion limit exceeded: {MAX_HEIGHT}"));
        None
    }

    fn expr(&mut self) -> Option<Expr> {
        self.depth += 1;
        let expr = if self.depth > MAX_HEIGHT { self.too_deep() } else { self.conditional() };
        self.depth -= 1;
        expr
    }

    fn conditional(&mut self) -> Option<Expr> {
        let condition = self.logic(true)?;
        let at = self.peek().at;
        if !self.eat("?") {
            return Some(condition);
        }
        let yes = self.logic(true)?;
        self.expect(":")?;
        let no = self.expr()?;
        self.node(at, Kind::Conditional(Box::new([condition, yes, no])))
    }

    /// `a || b`, or `a && b`; the place is the first operator's.
    fn logic(&mut self, or: bool) -> Option<Expr> {
        let sign = if or { "||" } else { "&&" };
        let first = if or { self.logic(false)? } else { self.binary(1)? };
        if self.sign() != sign {
            return Some(first);
        }
        let at = self.peek().at;
        let mut terms = alloc::vec![first];
        while self.eat(sign) {
            terms.push(if or { self.logic(false)? } else { self.binary(1)? });
        }
        self.node(at, Kind::Logic { or, terms })
    }

    fn binary(&mut self, least: u8) -> Option<Expr> {
        let mut left = self.unary()?;
        while let Some((strength, function)) = binary(self.sign()) {
            if strength < least {
                break;
            }
            let at = self.advance().at;
            let right = self.binary(strength + 1)?;
            left = self.call(at, function, None, alloc::vec![left, right])?;
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Expr> {
        let Token::Sign(sign @ ("!" | "-")) = self.peek().token else { return self.member() };
        let at = self.peek().at;
        let mut count = 0;
        while self.sign() == sign {
            if sign == "-"
                && let Some(Token::Literal(literal)) =
                    self.tokens.get(self.pos + 1).map(|t| &t.token)
                && let Some(negative) = negative(literal)
            {
                let at = self.advance().at;
                let text = format!("-{}", self.peek().text).into();
                self.tokens[self.pos] = Spanned { token: Token::Literal(negative), at, text };
                break;
            }
            self.advance();
            count += 1;
        }
        let operand = self.member()?;
        match (count % 2, sign) {
            (0, _) => Some(operand),
            (_, "!") => self.call(at, "!_", None, alloc::vec![operand]),
            _ => self.call(at, "-_", None, alloc::vec![operand]),
        }
    }

    fn member(&mut self) -> Option<Expr> {
        let mut expr = self.primary()?;
        loop {
            let at = self.peek().at;
            expr = if self.eat(".") {
                self.selection(at, expr)?
            } else if self.eat("[") {
                let optional = self.eat("?");
                let index = Box::new(self.expr()?);
                self.expect("]")?;
                self.node(at, Kind::Index { operand: Box::new(expr), index, optional })?
            } else if self.sign() == "{"
                && let Some(name) = qualified(&expr)
            {
                self.advance();
                self.fields()?;
                self.node(at, Kind::Struct { name: name.into() })?
            } else {
                return Some(expr);
            };
        }
    }

    /// What follows a dot: a field, or a call.
    fn selection(&mut self, at: u32, operand: Expr) -> Option<Expr> {
        let optional = self.eat("?");
        let field = self.identifier()?;
        let open = self.peek().at;
        if !optional && self.eat("(") {
            let args = self.args(")")?;
            if let Some(name) = qualified(&operand) {
                let name = format!("{name}.{field}");
                if functions::exists(&name) {
                    return self.call(open, &name, None, args);
                }
            }
            return self.call(open, &field, Some(operand), args);
        }
        let operand = Box::new(operand);
        self.node(at, Kind::Select(Select { operand, field, test: false, optional }))
    }

    fn identifier(&mut self) -> Option<SmolStr> {
        let next = self.peek().clone();
        if let Token::Ident(name) = next.token {
            self.advance();
            return Some(name);
        }
        let message =
            format!("Syntax error: mismatched input '{}' expecting IDENTIFIER", next.text);
        self.issues.report(next.at, message);
        None
    }

    fn primary(&mut self) -> Option<Expr> {
        let Spanned { token, at, text } = self.peek().clone();
        match token {
            Token::Literal(literal) => {
                self.advance();
                if literal == Literal::Int(i64::MIN) && !text.starts_with('-') {
                    self.issues.report(at, "invalid int literal");
                }
                self.node(at, Kind::Literal(literal))
            }
            Token::Ident(_) => self.name(),
            Token::Sign(".") => {
                // A name from the root; there is one container only.
                self.advance();
                self.name()
            }
            Token::Sign("(") => {
                self.advance();
                let expr = self.expr()?;
                self.expect(")")?;
                Some(expr)
            }
            Token::Sign("[") => {
                self.advance();
                let items = self.items()?;
                self.node(at, Kind::List(items))
            }
            Token::Sign("{") => {
                self.advance();
                let entries = self.entries()?;
                self.node(at, Kind::Map(entries))
            }
            _ => {
                let message =
                    format!("Syntax error: mismatched input '{text}' expecting {OPERANDS}");
                self.issues.report(at, message);
                None
            }
        }
    }

    fn name(&mut self) -> Option<Expr> {
        let at = self.peek().at;
        let name = self.identifier()?;
        if RESERVED.contains(&name.as_str()) {
            self.issues.report(at, format!("reserved identifier: {name}"));
        }
        let open = self.peek().at;
        if self.eat("(") {
            let args = self.args(")")?;
            return self.call(open, &name, None, args);
        }
        self.node(at, Kind::Ident(name))
    }

    /// Expressions with commas between, up to `end`.
    fn args(&mut self, end: &str) -> Option<Vec<Expr>> {
        let mut args = Vec::new();
        if self.eat(end) {
            return Some(args);
        }
        loop {
            args.push(self.expr()?);
            if !self.eat(",") {
                self.expect(end)?;
                return Some(args);
            }
        }
    }

    fn items(&mut self) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        while !self.eat("]") {
            let optional = self.eat("?");
            items.push(Item { value: self.expr()?, optional });
            if !self.eat(",") {
                self.expect("]")?;
                break;
            }
        }
        Some(items)
    }

    fn entries(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        while !self.eat("}") {
            let optional = self.eat("?");
            let key = self.expr()?;
            self.expect(":")?;
            let value = self.expr()?;
            entries.push(Entry { key, value, optional });
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Some(entries)
    }

    /// The fields of `Name{field: value}`: read, for nobody can make an object.
    fn fields(&mut self) -> Option<()> {
        while !self.eat("}") {
            self.eat("?");
            self.identifier()?;
            self.expect(":")?;
            self.expr()?;
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        Some(())
    }

    /// A call, or what the macro of that name makes of it.
    fn call(
        &mut self,
        at: u32,
        function: &str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Option<Expr> {
        let (target, args) = match macros::expand(self, at, function, target, args) {
            macros::Expansion::Done(expr) => return expr,
            macros::Expansion::NotAMacro(target, args) => (target, args),
        };
        let target = target.map(Box::new);
        let function = SmolStr::from(function);
        let call = Call { function, target, args, run: Vec::new(), regex: None };
        self.node(at, Kind::Call(call))
    }
}

/// A literal with a minus sign before it.
fn negative(literal: &Literal) -> Option<Literal> {
    match literal {
        Literal::Int(n) => Some(Literal::Int(n.wrapping_neg())),
        Literal::Double(n) => Some(Literal::Double(-n)),
        _ => None,
    }
}

/// The name that an expression spells: `a`, `a.b`.
pub(crate) fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.as_str().into()),
        Kind::Select(s) if !s.test && !s.optional => {
            Some(format!("{}.{}", qualified(&s.operand)?, s.field))
        }
        _ => None,
    }
}

fn height(kind: &Kind) -> u16 {
    let highest = |parts: &mut dyn Iterator<Item = &Expr>| parts.map(|e| e.height).max();
    match kind {
        Kind::Literal(_) | Kind::Ident(_) | Kind::Struct { .. } => None,
        Kind::Select(s) => Some(s.operand.height),
        Kind::Index { operand, index, .. } => Some(operand.height.max(index.height)),
        Kind::Call(call) => highest(&mut call.target.iter().map(|t| &**t).chain(&call.args)),
        Kind::Logic { terms, .. } => highest(&mut terms.iter()),
        Kind::Conditional(parts) => highest(&mut parts.iter()),
        Kind::List(items) => highest(&mut items.iter().map(|i| &i.value)),
        Kind::Map(entries) => highest(&mut entries.iter().flat_map(|e| [&e.key, &e.value])),
        Kind::Fold(f) => highest(&mut [&f.range, &f.body].into_iter().chain(&f.filter)),
        Kind::Bind { init, body, .. } => Some(init.height.max(body.height)),
        Kind::OptMap { target, body, .. } => Some(target.height.max(body.height)),
    }
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn error(source: &str) -> String {
        let mut issues = Issues::default();
        let parsed = parse(source, false, &mut issues);
        match issues.finish(source) {
            Err(errors) if parsed.is_none() => {
                errors.to_string().lines().next().unwrap_or_default().to_string()
            }
            _ => String::new(),
        }
    }

    #[test]
    fn syntax_errors_have_places() {
        for (source, place, text) in [
            ("", "1:1", "Syntax error: mismatched input '<EOF>' expecting {'[',"),
            ("a +", "1:4", "Syntax error: mismatched input '<EOF>' expecting {'[',"),
            ("a b", "1:3", "Syntax error: extraneous input 'b' expecting <EOF>"),
            ("f(a", "1:4", "Syntax error: missing ')' at '<EOF>'"),
            ("a.", "1:3", "Syntax error: mismatched input '<EOF>' expecting IDENTIFIER"),
            ("a # b", "1:3", "Syntax error: token recognition error at: '#'"),
            ("for", "1:1", "reserved identifier: for"),
            ("1-9223372036854775808", "1:3", "invalid int literal"),
            ("has(a)", "1:5", "invalid argument to has() macro"),
            ("a.all(b.c, d)", "1:8", "argument must be a simple name"),
        ] {
            let error = error(source);
            assert!(error.starts_with(&format!("ERROR: <input>:{place}: {text}")), "{error}");
        }
    }

    #[test]
    fn deep_sources_are_refused() {
        for (open, close) in [("(", ")"), ("[", "]"), ("!f(", ")"), ("-(", ")"), ("a?b:", "")] {
            let deep = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
            assert!(error(&deep).contains("recursion limit exceeded"), "{open}");
        }
        assert!(error(&"1+".repeat(20_000)).contains("recursion limit exceeded"));
        assert!(error(&"a.".repeat(20_000)).contains("recursion limit exceeded"));
        assert!(error(&"a".repeat(100_001)).contains("exceeds limit: size: 100001"));
        let long = format!("{}true", "true && ".repeat(10_000));
        assert_eq!(error(&long), "");
    }
}
