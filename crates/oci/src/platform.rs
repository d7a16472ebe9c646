//! For which machine an image is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An operating system, an architecture and possibly a variant, with Go's names for them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform of this process.
    pub fn host() -> Platform {
        let (architecture, variant) = go_architecture(std::env::consts::ARCH, "");
        Platform { os: "linux".into(), architecture, variant }
    }

    /// Reads `os/arch[/variant]`, or an architecture alone.
    pub fn parse(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |p: &&str| {
            !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let (os, arch, variant) = match parts.as_slice() {
            [arch] => ("linux", *arch, ""),
            [os, arch] => (*os, *arch, ""),
            [os, arch, variant] => (*os, *arch, *variant),
            _ => ("", "", ""),
        };
        if !parts.iter().all(word) || os.is_empty() {
            return Err(Error::Invalid(format!(
                "{text:?} is no platform: expected os/arch[/variant]"
            )));
        }
        let (architecture, variant) = go_architecture(&arch.to_lowercase(), variant);
        Ok(Platform { os: os.to_lowercase(), architecture, variant })
    }

    /// How well `self`, an image's platform, serves a machine of platform `wanted`: higher is
    /// better, `None` not at all. Older ARM variants run on newer machines.
    pub(crate) fn serves(&self, wanted: &Platform) -> Option<u32> {
        let (arch, variant) = go_architecture(&self.architecture, &self.variant);
        if self.os != wanted.os || arch != wanted.architecture {
            return None;
        }
        if variant == wanted.variant {
            return Some(1000);
        }
        let number = |v: &str| v.trim_start_matches('v').parse::<u32>().ok();
        match (arch.as_str(), number(&variant), number(&wanted.variant)) {
            ("arm" | "amd64", Some(has), Some(can)) if has <= can => Some(has),
            ("arm64" | "amd64", None, _) => Some(1),
            (_, _, None) if wanted.variant.is_empty() && arch == "arm" => Some(1),
            _ => None,
        }
    }
}

/// Go's name of an architecture, with the default variants left out.
fn go_architecture(name: &str, variant: &str) -> (String, String) {
    let (arch, default) = match name {
        "x86_64" | "x86-64" | "amd64" => ("amd64", "v1"),
        "aarch64" | "arm64" => ("arm64", "v8"),
        "x86" | "i386" | "i686" => ("386", ""),
        "arm" | "armhf" => {
            return ("arm".into(), if variant.is_empty() { "v7" } else { variant }.into());
        }
        "armel" => return ("arm".into(), "v6".into()),
        "powerpc64" | "powerpc64le" => ("ppc64le", ""),
        "loongarch64" => ("loong64", ""),
        other => (other, ""),
    };
    (arch.to_owned(), if variant == default { String::new() } else { variant.to_owned() })
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serves(image: &str, machine: &str) -> bool {
        Platform::parse(image).unwrap().serves(&Platform::parse(machine).unwrap()).is_some()
    }

    #[test]
    fn names_and_variants() {
        assert_eq!(Platform::parse("x86_64").unwrap().to_string(), "linux/amd64");
        assert_eq!(Platform::parse("linux/arm64/v8").unwrap().to_string(), "linux/arm64");
        assert!(Platform::parse("a/b/c/d").is_err() && Platform::parse("").is_err());
        assert!(serves("linux/arm64/v8", "linux/arm64"));
        assert!(serves("linux/arm/v6", "linux/arm/v7") && !serves("linux/arm/v7", "linux/arm/v6"));
        assert!(!serves("linux/amd64/v3", "linux/amd64") && !serves("windows/amd64", "amd64"));
    }
}
