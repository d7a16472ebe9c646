//! Named formats of strings: `format.dns1123Label().validate(name)`.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use timonier_meta::{Time, names};

use super::{Opaque, url};
use crate::error::EvalError;
use crate::functions::{Function, Out, function};
use crate::value::{Val, base64};

/// A format: its name and what is wrong with a text.
#[derive(Debug)]
pub struct Format {
    pub name: &'static str,
    check: fn(&str) -> Vec<String>,
}

static FORMATS: [Format; 13] = [
    Format { name: "dns1123Label", check: names::dns1123_label },
    Format { name: "dns1123Subdomain", check: names::dns1123_subdomain },
    Format { name: "dns1035Label", check: names::dns1035_label },
    Format { name: "qualifiedName", check: names::qualified_name },
    Format { name: "dns1123LabelPrefix", check: |s| names::dns1123_label(&prefix(s)) },
    Format { name: "dns1123SubdomainPrefix", check: |s| names::dns1123_subdomain(&prefix(s)) },
    Format { name: "dns1035LabelPrefix", check: |s| names::dns1035_label(&prefix(s)) },
    Format { name: "labelValue", check: names::label_value },
    Format { name: "uri", check: |s| url::parse(s).err().into_iter().collect() },
    Format { name: "uuid", check: |s| unless(uuid(s), "does not match the UUID format") },
    Format { name: "byte", check: |s| unless(base64(s).is_some(), "invalid base64") },
    Format { name: "date", check: |s| unless(date(s), "invalid date") },
    Format { name: "datetime", check: |s| unless(Time::parse(s).is_some(), "invalid datetime") },
];

pub(crate) const FUNCTIONS: &[Function] = &[
    function("format.named", &["s:?F"], |args, _| match args {
        [Val::Str(name)] => {
            let format = FORMATS.iter().find(|f| f.name == name.as_str());
            Ok(Val::Optional(format.map(|f| Arc::new(val(f)))))
        }
        _ => Err(EvalError::NoSuchOverload),
    }),
    function("validate", &[".Fs:?[s]"], validate),
    function("format.dns1123Label", &[":F"], |_, _| Ok(val(&FORMATS[0]))),
    function("format.dns1123Subdomain", &[":F"], |_, _| Ok(val(&FORMATS[1]))),
    function("format.dns1035Label", &[":F"], |_, _| Ok(val(&FORMATS[2]))),
    function("format.qualifiedName", &[":F"], |_, _| Ok(val(&FORMATS[3]))),
    function("format.dns1123LabelPrefix", &[":F"], |_, _| Ok(val(&FORMATS[4]))),
    function("format.dns1123SubdomainPrefix", &[":F"], |_, _| Ok(val(&FORMATS[5]))),
    function("format.dns1035LabelPrefix", &[":F"], |_, _| Ok(val(&FORMATS[6]))),
    function("format.labelValue", &[":F"], |_, _| Ok(val(&FORMATS[7]))),
    function("format.uri", &[":F"], |_, _| Ok(val(&FORMATS[8]))),
    function("format.uuid", &[":F"], |_, _| Ok(val(&FORMATS[9]))),
    function("format.byte", &[":F"], |_, _| Ok(val(&FORMATS[10]))),
    function("format.date", &[":F"], |_, _| Ok(val(&FORMATS[11]))),
    function("format.datetime", &[":F"], |_, _| Ok(val(&FORMATS[12]))),
];

fn val<'a>(format: &'static Format) -> Val<'a> {
    Val::Opaque(Opaque::Format(format))
}

fn validate<'a>(args: &[Val<'a>], _: &crate::functions::Site<'_>) -> Out<'a> {
    let [Val::Opaque(Opaque::Format(format)), Val::Str(text)] = args else {
        return Err(EvalError::NoSuchOverload);
    };
    let errors = (format.check)(text);
    let list = (!errors.is_empty()).then(|| errors.into_iter().map(Val::from).collect());
    Ok(Val::Optional(list.map(|list| Arc::new(Val::list(list)))))
}

fn unless(holds: bool, error: &str) -> Vec<String> {
    if holds { Vec::new() } else { alloc::vec![error.into()] }
}

/// A name's beginning as a name: a dash at its end is covered.
fn prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(start) => alloc::format!("{start}a"),
        None => text.into(),
    }
}

fn uuid(text: &str) -> bool {
    let text = text.as_bytes();
    let dash = |i| matches!(i, 8 | 13 | 18 | 23);
    let plain = text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit);
    let split = text.len() == 36;
    plain
        || split
            && (0..36).all(|i| if dash(i) { text[i] == b'-' } else { text[i].is_ascii_hexdigit() })
}

fn date(text: &str) -> bool {
    text.len() == 10 && Time::parse(&alloc::format!("{text}T00:00:00Z")).is_some()
}
