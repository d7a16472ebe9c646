//! The parts of timestamps and durations.

use super::{Function, Out, Site, function};
use crate::error::EvalError;
use crate::time::{Civil, civil, zone_offset};
use crate::value::Val;

const OF_TIME: &[&str] = &[".t:i", ".ts:i"];
const OF_BOTH: &[&str] = &[".t:i", ".ts:i", ".D:i"];

pub(super) const FUNCTIONS: &[Function] = &[
    function("getFullYear", OF_TIME, |args, _| part(args, |c| c.year, 0)),
    function("getMonth", OF_TIME, |args, _| part(args, |c| c.month, 0)),
    function("getDayOfYear", OF_TIME, |args, _| part(args, |c| c.day_of_year, 0)),
    function("getDayOfMonth", OF_TIME, |args, _| part(args, |c| c.day - 1, 0)),
    function("getDate", OF_TIME, |args, _| part(args, |c| c.day, 0)),
    function("getDayOfWeek", OF_TIME, |args, _| part(args, |c| c.day_of_week, 0)),
    function("getHours", OF_BOTH, |args, _| part(args, |c| c.hour, 3_600_000_000_000)),
    function("getMinutes", OF_BOTH, |args, _| part(args, |c| c.minute, 60_000_000_000)),
    function("getSeconds", OF_BOTH, |args, _| part(args, |c| c.second, 1_000_000_000)),
    function("getMilliseconds", OF_BOTH, milliseconds),
];

fn part<'a>(args: &[Val<'a>], of: fn(&Civil) -> i64, unit: i64) -> Out<'a> {
    match args {
        [Val::Timestamp(t)] => Ok(Val::Int(of(&civil(*t, 0)))),
        [Val::Timestamp(t), Val::Str(zone)] => match zone_offset(zone) {
            Some(offset) => Ok(Val::Int(of(&civil(*t, offset)))),
            None => Err(EvalError::new(alloc::format!("unknown time zone {zone}"))),
        },
        [Val::Duration(d)] if unit != 0 => Ok(Val::Int(d / unit)),
        _ => Err(EvalError::NoSuchOverload),
    }
}

/// Of a duration all of its milliseconds, of a timestamp those within the second.
fn milliseconds<'a>(args: &[Val<'a>], _: &Site<'_>) -> Out<'a> {
    match args {
        [Val::Duration(d)] => Ok(Val::Int(d / 1_000_000)),
        args => part(args, |c| c.millisecond, 0),
    }
}
