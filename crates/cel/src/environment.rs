//! What expressions may use, and the values of it.

use alloc::collections::BTreeMap;

use smol_str::SmolStr;

use crate::types::Type;
use crate::value::Val;

/// The variables that an expression may use, and their types.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<SmolStr, Type>,
    bindings: bool,
}

impl Environment {
    /// An environment without variables.
    pub fn new() -> Self {
        Environment::default()
    }

    /// The environment with one more variable. The name may have dots, as
    /// `authorizer.requestResource` has.
    pub fn with(mut self, name: impl Into<SmolStr>, ty: Type) -> Self {
        self.declare(name, ty);
        self
    }

    /// Adds a variable.
    pub fn declare(&mut self, name: impl Into<SmolStr>, ty: Type) {
        self.variables.insert(name.into(), ty);
    }

    /// Adds the variables `authorizer` and `authorizer.requestResource`.
    pub fn with_authorizer(self) -> Self {
        use crate::libraries::authorizer::{RESOURCE_TYPE, TYPE};
        self.with("authorizer", Type::Opaque(TYPE))
            .with("authorizer.requestResource", Type::Opaque(RESOURCE_TYPE))
    }

    /// Adds the macro `cel.bind`, which selectors of devices have and nothing else in Kubernetes.
    pub fn with_bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    pub(crate) fn has_bindings(&self) -> bool {
        self.bindings
    }

    /// The type of a variable.
    pub fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }
}

/// The values of variables.
#[derive(Clone, Debug, Default)]
pub struct Variables<'a> {
    bound: BTreeMap<SmolStr, Val<'a>>,
}

impl<'a> Variables<'a> {
    /// No values.
    pub fn new() -> Self {
        Variables::default()
    }

    /// The values with one more.
    pub fn with(mut self, name: impl Into<SmolStr>, value: Val<'a>) -> Self {
        self.set(name, value);
        self
    }

    /// Gives a variable a value.
    pub fn set(&mut self, name: impl Into<SmolStr>, value: Val<'a>) {
        self.bound.insert(name.into(), value);
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Val<'a>> {
        self.bound.get(name)
    }
}

/// How much evaluations may cost, in cel-go's units: roughly one for each step.
#[derive(Clone, Debug)]
pub struct Budget {
    per_call: u64,
    remaining: u64,
    exhausted: bool,
}

impl Budget {
    /// Kubernetes' limit for one evaluation.
    pub const PER_CALL: u64 = 1_000_000;
    /// Kubernetes' limit for all rules of an object or of a policy.
    pub const PER_OBJECT: u64 = 10_000_000;
    /// Kubernetes' limit for the match conditions of a webhook or of a policy.
    pub const MATCH_CONDITIONS: u64 = 2_500_000;

    /// A budget of `total` for all evaluations together.
    pub fn new(total: u64) -> Self {
        Budget { per_call: Budget::PER_CALL, remaining: total, exhausted: false }
    }

    /// Whether evaluations cost more than all that was there. The last one's value then does not
    /// count: the caller stops.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    pub(crate) fn per_call(&self) -> u64 {
        self.per_call
    }

    pub(crate) fn spend(&mut self, cost: u64) {
        self.exhausted |= cost > self.remaining;
        self.remaining = self.remaining.saturating_sub(cost);
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new(Budget::PER_OBJECT)
    }
}
