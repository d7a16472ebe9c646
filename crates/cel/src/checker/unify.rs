//! Which type fits where another is wanted, with types that are still open.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::types::{ListType, Type};

/// What is known of open types.
#[derive(Clone, Default)]
pub(super) struct Unifier {
    bound: BTreeMap<u32, Type>,
    next: u32,
}

impl Unifier {
    /// A new open type.
    pub fn fresh(&mut self) -> Type {
        self.next += 1;
        Type::Param(self.next - 1)
    }

    /// A signature's type with its own parameters from `base` on.
    pub fn instantiate(&mut self, ty: &Type, base: u32) -> Type {
        map(ty, &mut |n| {
            self.next = self.next.max(base + n + 1);
            Type::Param(base + n)
        })
    }

    /// The number of the next parameter.
    pub fn base(&self) -> u32 {
        self.next
    }

    /// The type with everything that is known put in. What is still open is dyn at the end.
    pub fn resolve(&self, ty: &Type, end: bool) -> Type {
        map(ty, &mut |n| match self.bound.get(&n) {
            Some(bound) => self.resolve(bound, end),
            None if end => Type::Dyn,
            None => Type::Param(n),
        })
    }

    /// Whether a `from` can stand where a `to` is wanted; what that tells of open types is kept
    /// where it does.
    pub fn assign(&mut self, to: &Type, from: &Type) -> bool {
        let before = self.bound.clone();
        let fits = self.fits(to, from);
        if !fits {
            self.bound = before;
        }
        fits
    }

    fn fits(&mut self, to: &Type, from: &Type) -> bool {
        match (to, from) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (Type::Param(n), other) => self.bind(*n, other, true),
            (other, Type::Param(n)) => self.bind(*n, other, false),
            (a, b) if a.is_dyn() || b.is_dyn() => true,
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(a), Type::List(b)) => self.fits(&a.item, &b.item),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    fn bind(&mut self, n: u32, other: &Type, wanted: bool) -> bool {
        let Some(bound) = self.bound.get(&n).cloned() else {
            let other = self.resolve(other, false);
            if mentions(&other, n) {
                return other == Type::Param(n);
            }
            self.bound.insert(n, other);
            return true;
        };
        let fits = if wanted { self.fits(&bound, other) } else { self.fits(other, &bound) };
        // Dyn is more general than what was known.
        if fits && other.is_dyn() && !matches!(bound, Type::Param(_)) {
            self.bound.insert(n, Type::Dyn);
        }
        fits
    }
}

fn nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Object(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration)
}

fn mentions(ty: &Type, n: u32) -> bool {
    let mut found = false;
    map(ty, &mut |m| {
        found |= m == n;
        Type::Param(m)
    });
    found
}

/// The type with its parameters replaced.
fn map(ty: &Type, replace: &mut dyn FnMut(u32) -> Type) -> Type {
    match ty {
        Type::Param(n) => replace(*n),
        Type::List(list) => {
            let item = map(&list.item, replace);
            if item == list.item {
                return ty.clone();
            }
            Type::List(Arc::new(ListType { item, kind: list.kind.clone() }))
        }
        Type::Map(parts) => Type::map(map(&parts.0, replace), map(&parts.1, replace)),
        Type::Optional(inner) => Type::optional(map(inner, replace)),
        Type::Type(inner) => Type::Type(Arc::new(map(inner, replace))),
        other => other.clone(),
    }
}
