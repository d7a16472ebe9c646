//! Why a patch could not be applied.

use alloc::string::String;
use core::fmt;

/// Why a patch could not be applied. The API server answers `Malformed` with 400, `TooLarge` with
/// 413 and `DoesNotApply` with 422, as upstream does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PatchError {
    /// The patch itself is not one.
    Malformed(String),
    /// More operations than are allowed.
    TooLarge(String),
    /// A good patch that does not fit this object.
    DoesNotApply(String),
}

impl PatchError {
    /// The text of the error.
    pub fn message(&self) -> &str {
        match self {
            PatchError::Malformed(m) | PatchError::TooLarge(m) | PatchError::DoesNotApply(m) => m,
        }
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for PatchError {}
