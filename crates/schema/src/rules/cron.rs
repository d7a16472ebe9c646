//! Cron schedules: whether a text is one. The grammar and the errors are those of upstream's
//! parser.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A field's name list, lowest and highest value.
struct Bounds {
    low: i64,
    high: i64,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Bounds; 5] = [
    Bounds { low: 0, high: 59, names: &[] },
    Bounds { low: 0, high: 23, names: &[] },
    Bounds { low: 1, high: 31, names: &[] },
    Bounds { low: 1, high: 12, names: &MONTHS },
    Bounds { low: 0, high: 6, names: &DAYS },
];

/// Checks a schedule: five fields, or a word such as `@hourly`, after an optional `TZ=zone `.
pub fn parse(text: &str) -> Result<(), String> {
    let mut text = text;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let Some((_, rest)) = text.split_once(' ') else {
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]"
                .to_string());
        };
        text = rest.trim();
    }
    if text.starts_with('@') {
        return descriptor(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    }
    for (field, bounds) in fields.into_iter().zip(&FIELDS) {
        for part in field.split(',').filter(|part| !part.is_empty()) {
            range(part, bounds)?;
        }
    }
    Ok(())
}

fn descriptor(text: &str) -> Result<(), String> {
    if matches!(
        text,
        "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight" | "@hourly"
    ) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(every) if timonier_meta::time::parse_go_duration(every).is_some() => Ok(()),
        Some(every) => {
            Err(format!("failed to parse duration {text}: time: invalid duration {every:?}"))
        }
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = if matches!(ends[0], "*" | "?") {
        (bounds.low, bounds.high)
    } else {
        let start = number_or_name(ends[0], bounds)?;
        match ends.len() {
            1 => (start, start),
            2 => (start, number_or_name(ends[1], bounds)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    let mut step = 1;
    match parts.len() {
        1 => {}
        2 => {
            step = number(parts[1])?;
            if ends.len() == 1 {
                end = bounds.high;
            }
        }
        _ => return Err(format!("too many slashes: {text}")),
    }
    let (low, high) = (bounds.low, bounds.high);
    if start < low {
        Err(format!("beginning of range ({start}) below minimum ({low}): {text}"))
    } else if end > high {
        Err(format!("end of range ({end}) above maximum ({high}): {text}"))
    } else if start > end {
        Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"))
    } else if step == 0 {
        Err(format!("step of range should be a positive number: {text}"))
    } else {
        Ok(())
    }
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<i64, String> {
    let index = bounds.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match index.and_then(|i| i64::try_from(i).ok()) {
        Some(i) => Ok(i + bounds.low),
        None => number(text),
    }
}

fn number(text: &str) -> Result<i64, String> {
    let n: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })?;
    if n < 0 { Err(format!("negative number ({n}) not allowed: {text}")) } else { Ok(n) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        for good in
            ["* * * * *", "*/5 0-6 1,15 jan-MAR sun", "@hourly", "@every 1h30m", "0 0 ? * 1/2"]
        {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@never", "unrecognized descriptor: @never"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
        ] {
            assert_eq!(parse(bad).unwrap_err(), why);
        }
    }
}
