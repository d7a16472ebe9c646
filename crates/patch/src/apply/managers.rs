//! `metadata.managedFields`: who manages which fields.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use smol_str::SmolStr;
use timonier_meta::Time;
use timonier_object::{Value, value};

use super::set::FieldSet;

/// More managers by updates than this are put together.
const MOST_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Who manages fields, and how. Who applies is one manager whatever the version.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Manager {
    pub name: SmolStr,
    pub applies: bool,
    /// Empty where the manager applies.
    pub api_version: SmolStr,
    pub subresource: SmolStr,
}

impl Manager {
    /// The manager of an operation.
    pub fn new(name: &str, applies: bool, api_version: &str, subresource: &str) -> Self {
        Manager {
            name: name.into(),
            applies,
            api_version: if applies { SmolStr::default() } else { api_version.into() },
            subresource: subresource.into(),
        }
    }

    /// The manager as conflicts name it.
    pub fn show(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text = format!("{text} with subresource {:?}", self.subresource);
        }
        if self.applies { text } else { format!("{text} using {}", self.api_version) }
    }
}

/// The fields of a manager.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Managed {
    pub fields: FieldSet,
    pub api_version: SmolStr,
    pub time: Option<Time>,
}

/// All managers of an object.
pub type Managers = BTreeMap<Manager, Managed>;

/// Reads `managedFields`. `None` where an entry is none.
pub fn parse(entries: &Value) -> Option<Managers> {
    let mut all = Managers::new();
    for entry in entries.items() {
        let text = |field: &str| entry.at(field).str();
        let applies = match text("operation") {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        let manager =
            Manager::new(text("manager"), applies, text("apiVersion"), text("subresource"));
        let managed = Managed {
            fields: FieldSet::parse(entry.at("fieldsV1"))?,
            api_version: text("apiVersion").into(),
            time: Time::parse(text("time")),
        };
        all.insert(manager, managed);
    }
    Some(all)
}

/// Writes `managedFields`, in upstream's order.
pub fn to_value(all: &Managers) -> Value {
    let mut entries: alloc::vec::Vec<(&Manager, &Managed)> = all.iter().collect();
    entries.sort_by(|(a, x), (b, y)| {
        let seconds = |m: &Managed| m.time.unwrap_or_default().unix();
        b.applies
            .cmp(&a.applies)
            .then_with(|| seconds(x).cmp(&seconds(y)))
            .then_with(|| a.name.cmp(&b.name))
            .then_with(|| x.api_version.cmp(&y.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    let entry = |(manager, managed): (&Manager, &Managed)| {
        let operation = if manager.applies { "Apply" } else { "Update" };
        let mut out = value!({});
        if !manager.name.is_empty() {
            out.set("manager", &manager.name);
        }
        out.set("operation", operation);
        out.set("apiVersion", &managed.api_version);
        if let Some(time) = managed.time {
            out.set("time", time.rfc3339());
        }
        out.set("fieldsType", "FieldsV1");
        out.set("fieldsV1", managed.fields.to_value());
        if !manager.subresource.is_empty() {
            out.set("subresource", &manager.subresource);
        }
        out
    };
    Value::array(entries.into_iter().map(entry))
}

/// Puts the oldest managers by updates together where there are too many.
pub fn cap(all: &mut Managers) {
    let mut updaters: alloc::vec::Vec<Manager> =
        all.keys().filter(|m| !m.applies).cloned().collect();
    let mut count = updaters.len();
    if count <= MOST_UPDATERS {
        return;
    }
    updaters.sort_by_key(|m| (all[m].time.unwrap_or_default().unix(), m.clone()));
    let mut first: BTreeMap<SmolStr, Manager> = BTreeMap::new();
    for manager in updaters {
        if count <= MOST_UPDATERS {
            return;
        }
        let version = all[&manager].api_version.clone();
        let Some(oldest) = first.get(&version).cloned() else {
            first.insert(version, manager);
            continue;
        };
        let bucket = Manager::new(ANCIENT, false, &version, "");
        if !all.contains_key(&bucket)
            && let Some(managed) = all.remove(&oldest)
        {
            all.insert(bucket.clone(), managed);
        }
        let Some(managed) = all.remove(&manager) else { continue };
        if let Some(both) = all.get_mut(&bucket) {
            both.fields = both.fields.union(&managed.fields);
            both.time = managed.time;
        }
        count -= 1;
    }
}
