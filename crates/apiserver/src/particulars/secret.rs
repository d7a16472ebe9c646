//! Secrets: `stringData` is a way to write `data`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use timonier_object::Value;

/// Moves `stringData` into `data`.
pub fn merge(secret: &mut Value) {
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return };
    let data = secret.entry("data").make_object();
    for (key, value) in plain {
        data.insert(key, STANDARD.encode(value.str()).into());
    }
}
