//! The paths of a resource and what can be done there.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use timonier_meta::{GroupVersion, GroupVersionKind};
use timonier_object::{Value, value};

use super::operations::{
    Body, DELETE, FORCE, LIST, Operation, PRETTY, Parameter, WRITE, path_parameter, query,
};
use super::schemas::{Dialect, Schemas};
use crate::builtin;
use crate::row::{ResourceRow, Subresource};

const ENCODINGS: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMS: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const OK: &[(u16, &str)] = &[(200, "OK")];
const PUT: &[(u16, &str)] = &[(200, "OK"), (201, "Created")];
const ACCEPTED: &[(u16, &str)] = &[(200, "OK"), (202, "Accepted")];
const CREATED: &[(u16, &str)] = &[(200, "OK"), (201, "Created"), (202, "Accepted")];

/// The document of a group-version itself: its resources.
pub(super) fn group_version(
    gv: &GroupVersion,
    dialect: Dialect,
    schemas: &mut Schemas<'_>,
    paths: &mut Value,
) {
    let names = Names::new(gv);
    let get = Operation {
        id: format!("get{}APIResources", names.operation),
        tag: names.tag.clone(),
        description: "get available resources".to_string(),
        action: "",
        kind: None,
        parameters: Vec::new(),
        body: None,
        codes: OK,
        answer: Some(schemas.refer("meta.v1.APIResourceList")),
        produces: ENCODINGS.to_vec(),
    };
    let item = value!({ "get": (get.write(dialect)) });
    paths.make_object().insert(format!("{}/", names.root), item);
}

/// All paths of a resource.
pub(super) fn resource(
    row: &ResourceRow,
    dialect: Dialect,
    schemas: &mut Schemas<'_>,
    paths: &mut Value,
) {
    let names = Names::new(&row.gvr.group_version());
    let mut w = Writer { row, dialect, schemas, paths, names };
    let plural = &row.gvr.resource;
    let all = format!("{}/{plural}", w.names.root);
    let collection = match row.namespaced {
        true => format!("{}/namespaces/{{namespace}}/{plural}", w.names.root),
        false => all.clone(),
    };
    let item = format!("{collection}/{{name}}");
    w.collection(&collection);
    w.item(&item);
    for sub in &row.subresources {
        w.subresource(&format!("{item}/{}", sub.name), sub);
    }
    if row.namespaced && row.verbs.has("list") {
        let list = w.list("list", "ForAllNamespaces", false);
        w.put(&all, &[("get", list)], &[]);
    }
    if row.verbs.has("watch") {
        w.watches(&collection, &item, &all);
    }
}

/// How a group-version appears in names and URLs.
struct Names {
    root: String,
    /// `AppsV1`.
    operation: String,
    /// `apps_v1`.
    tag: String,
}

impl Names {
    fn new(gv: &GroupVersion) -> Self {
        let group = if gv.group.is_empty() { "core" } else { &gv.group };
        let parts: Vec<&str> = group.trim_end_matches(".k8s.io").split('.').collect();
        let camel: String = parts.iter().map(|p| capital(p)).collect();
        let mut tag = camel.clone();
        if let Some(first) = tag.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        let root = match gv.group.is_empty() {
            true => format!("/api/{}", gv.version),
            false => format!("/apis/{gv}"),
        };
        let version = capital(&gv.version);
        Names { root, operation: format!("{camel}{version}"), tag: format!("{tag}_{}", gv.version) }
    }
}

fn capital(word: &str) -> String {
    let mut out = word.to_string();
    if let Some(first) = out.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    out
}

struct Writer<'w, 'c> {
    row: &'w ResourceRow,
    dialect: Dialect,
    schemas: &'w mut Schemas<'c>,
    paths: &'w mut Value,
    names: Names,
}

impl Writer<'_, '_> {
    fn collection(&mut self, path: &str) {
        let mut operations = Vec::new();
        let verbs = self.row.verbs;
        if verbs.has("list") {
            operations.push(("get", self.list("list", "", true)));
        }
        if verbs.has("create") {
            let kind = self.row.gvk.clone();
            operations.push(("post", self.create(self.scoped("create", ""), &kind)));
        }
        if verbs.has("deletecollection") {
            operations.push(("delete", self.delete_collection()));
        }
        self.put(path, &operations, &[PRETTY]);
    }

    fn item(&mut self, path: &str) {
        let kind = self.row.gvk.clone();
        let mut operations = Vec::new();
        for (verb, method, action) in [
            ("get", "get", "read"),
            ("update", "put", "replace"),
            ("patch", "patch", "patch"),
            ("delete", "delete", "delete"),
        ] {
            if self.row.verbs.has(verb) {
                let operation = self.change(method, self.scoped(action, ""), "", &kind);
                operations.push((method, operation));
            }
        }
        self.put(path, &operations, &[PRETTY]);
    }

    fn subresource(&mut self, path: &str, sub: &Subresource) {
        let suffix = capital(&sub.name);
        if sub.kind.kind.ends_with("Options") {
            return self.connect(path, sub, &suffix);
        }
        let mut operations = Vec::new();
        for (verb, method, action) in [
            ("get", "get", "read"),
            ("update", "put", "replace"),
            ("patch", "patch", "patch"),
            ("create", "post", "create"),
        ] {
            if !sub.verbs.has(verb) {
                continue;
            }
            let id = self.scoped(action, &suffix);
            let operation = match method {
                "post" => self.create(id, &sub.kind),
                method => self.change(method, id, &sub.name, &sub.kind),
            };
            operations.push((method, operation));
        }
        self.put(path, &operations, &[PRETTY]);
    }

    /// Streams and proxies: the options are query parameters.
    fn connect(&mut self, path: &str, sub: &Subresource, suffix: &str) {
        let methods: Vec<&str> = match &*sub.name {
            "proxy" => alloc::vec!["get", "put", "post", "delete", "patch", "head", "options"],
            _ => alloc::vec!["get", "post"],
        };
        let mut variants = alloc::vec![(path.to_string(), "")];
        if sub.name == "proxy" {
            variants.push((format!("{path}/{{path}}"), "WithPath"));
        }
        for (path, with_path) in variants {
            let mut operations = Vec::new();
            for method in &methods {
                let scope = if self.row.namespaced { "Namespaced" } else { "" };
                let id = format!(
                    "connect{}{}{scope}{}{suffix}{with_path}",
                    self.names.operation,
                    capital(method),
                    self.row.gvk.kind
                );
                let mut operation = self.operation(id, "connect", &sub.kind);
                operation.description = format!(
                    "connect {} requests to {} of {}",
                    method.to_uppercase(),
                    sub.name,
                    self.row.gvk.kind
                );
                operation.answer = Some(value!({ "type": "string" }));
                operation.produces = alloc::vec!["*/*"];
                operations.push((*method, operation.write(self.dialect)));
            }
            self.put(&path, &operations, &[]);
            self.option_parameters(&path, sub);
        }
    }

    /// The fields of an options kind as query parameters of the path.
    fn option_parameters(&mut self, path: &str, sub: &Subresource) {
        let Some(schema) = builtin::schema_of(&sub.kind) else { return };
        let Some(parameters) = self
            .paths
            .get_mut(path)
            .map(|item| item.make_object().entry("parameters").make_array())
        else {
            return;
        };
        for field in schema.fields().filter(|f| !matches!(f.name, "kind" | "apiVersion")) {
            let ty = match field.schema.kind() {
                crate::Type::Bool => "boolean",
                crate::Type::Int32 | crate::Type::Int64 => "integer",
                _ => "string",
            };
            let mut parameter = query(("", ty, ""), self.dialect);
            parameter.set("name", field.name);
            parameters.push(parameter);
        }
    }

    fn list(&mut self, action: &'static str, suffix: &str, scoped: bool) -> Value {
        let kind = &self.row.gvk.kind;
        let id = match (scoped, self.row.namespaced) {
            (true, true) => format!("{action}{}Namespaced{kind}{suffix}", self.names.operation),
            _ => format!("{action}{}{kind}{suffix}", self.names.operation),
        };
        let gvk = self.row.gvk.clone();
        let mut operation = self.operation(id, "list", &gvk);
        operation.description = format!("list or watch objects of kind {kind}");
        operation.parameters = LIST.to_vec();
        operation.answer = Some(self.schemas.refer_kind(self.row, true));
        operation.produces = STREAMS.to_vec();
        if !scoped {
            operation.parameters.push(PRETTY);
        }
        operation.write(self.dialect)
    }

    fn delete_collection(&mut self) -> Value {
        let scope = if self.row.namespaced { "Namespaced" } else { "" };
        let kind = self.row.gvk.clone();
        let id = format!("delete{}Collection{scope}{}", self.names.operation, kind.kind);
        let mut operation = self.operation(id, "deletecollection", &kind);
        operation.description = format!("delete collection of {}", kind.kind);
        let of_list = |p: &Parameter| !matches!(p.0, "allowWatchBookmarks" | "watch");
        operation.parameters =
            DELETE.iter().chain(LIST.iter().filter(|p| of_list(p))).copied().collect();
        operation.body = Some(self.delete_options());
        operation.answer = Some(self.schemas.refer("meta.v1.Status"));
        operation.write(self.dialect)
    }

    fn create(&mut self, id: String, kind: &GroupVersionKind) -> Value {
        let mut operation = self.operation(id, "post", kind);
        operation.description = format!("create a {}", kind.kind);
        operation.parameters = WRITE.to_vec();
        operation.codes = CREATED;
        let schema = self.kind_schema(kind);
        operation.body =
            Some(Body { types: alloc::vec!["*/*"], schema: schema.clone(), required: true });
        operation.answer = Some(schema);
        operation.write(self.dialect)
    }

    fn change(
        &mut self,
        method: &'static str,
        id: String,
        sub: &str,
        kind: &GroupVersionKind,
    ) -> Value {
        let of = if sub.is_empty() { String::new() } else { format!("{sub} of ") };
        let name = &self.row.gvk.kind;
        let mut operation = self.operation(id, method, kind);
        operation.answer = Some(self.kind_schema(kind));
        match method {
            "get" => operation.description = format!("read {of}the specified {name}"),
            "put" => {
                operation.description = format!("replace {of}the specified {name}");
                operation.parameters = WRITE.to_vec();
                operation.codes = PUT;
                let schema = self.kind_schema(kind);
                operation.body = Some(Body { types: alloc::vec!["*/*"], schema, required: true });
            }
            "patch" => {
                operation.description = format!("partially update {of}the specified {name}");
                operation.parameters = WRITE.to_vec();
                operation.parameters.push(FORCE);
                operation.codes = PUT;
                let schema = self.schemas.refer("meta.v1.Patch");
                // By the list clients learn whether they may send a strategic merge patch.
                let strategic = |kind: &&str| !self.row.is_custom() || !kind.contains("strategic");
                let types = PATCHES.into_iter().filter(strategic).collect();
                operation.body = Some(Body { types, schema, required: true });
            }
            _ => {
                operation.description = format!("delete a {name}");
                operation.parameters = DELETE.to_vec();
                operation.codes = ACCEPTED;
                operation.body = Some(self.delete_options());
                if !self.row.strategy.delete_returns_object {
                    operation.answer = Some(self.schemas.refer("meta.v1.Status"));
                }
            }
        }
        if sub == "log" {
            operation.answer = Some(value!({ "type": "string" }));
            operation.produces = alloc::vec!["text/plain", "application/json"];
        }
        operation.write(self.dialect)
    }

    fn delete_options(&mut self) -> Body {
        let schema = self.schemas.refer("meta.v1.DeleteOptions");
        Body { types: alloc::vec!["*/*"], schema, required: false }
    }

    fn watches(&mut self, collection: &str, item: &str, all: &str) {
        let below =
            |path: &str| path.replacen(&self.names.root, &format!("{}/watch", self.names.root), 1);
        let (collection, item, all) = (below(collection), below(item), below(all));
        self.watch(&collection, "List", "watchlist", self.row.namespaced);
        if self.row.verbs.has("get") {
            self.watch(&item, "", "watch", self.row.namespaced);
        }
        if self.row.namespaced {
            self.watch(&all, "ListForAllNamespaces", "watchlist", false);
        }
    }

    fn watch(&mut self, path: &str, suffix: &str, action: &'static str, namespaced: bool) {
        let scope = if namespaced { "Namespaced" } else { "" };
        let kind = self.row.gvk.clone();
        let id = format!("watch{}{scope}{}{suffix}", self.names.operation, kind.kind);
        let mut operation = self.operation(id, action, &kind);
        operation.description =
            format!("watch {}; deprecated: use the watch parameter of a list", kind.kind);
        operation.answer = Some(self.schemas.refer("meta.v1.WatchEvent"));
        operation.produces = STREAMS.to_vec();
        let operation = operation.write(self.dialect);
        let parameters: Vec<Parameter> = LIST.iter().chain([&PRETTY]).copied().collect();
        self.put(path, &[("get", operation)], &parameters);
    }

    fn kind_schema(&mut self, kind: &GroupVersionKind) -> Value {
        if *kind == self.row.gvk {
            return self.schemas.refer_kind(self.row, false);
        }
        let package = builtin::package(&kind.group, &kind.version);
        self.schemas.refer(&format!("{package}.{}", kind.kind))
    }

    /// `readAppsV1NamespacedDeploymentStatus`.
    fn scoped(&self, action: &str, suffix: &str) -> String {
        let scope = if self.row.namespaced { "Namespaced" } else { "" };
        format!("{action}{}{scope}{}{suffix}", self.names.operation, self.row.gvk.kind)
    }

    fn operation(&self, id: String, action: &'static str, kind: &GroupVersionKind) -> Operation {
        Operation {
            id,
            tag: self.names.tag.clone(),
            description: String::new(),
            action,
            kind: Some(kind.clone()),
            parameters: Vec::new(),
            body: None,
            codes: OK,
            answer: None,
            produces: ENCODINGS.to_vec(),
        }
    }

    /// Adds operations to a path, and the path's own parameters.
    fn put(&mut self, path: &str, operations: &[(&str, Value)], parameters: &[Parameter]) {
        if operations.is_empty() {
            return;
        }
        let mut shared: Vec<Value> = Vec::new();
        for (marker, name, text) in [
            ("{name}", "name", format!("name of the {}", self.row.gvk.kind)),
            ("{namespace}", "namespace", "the namespace of the object".to_string()),
            ("{path}", "path", "the rest of the path".to_string()),
        ] {
            if path.contains(marker) {
                shared.push(path_parameter(name, &text, self.dialect));
            }
        }
        shared.extend(parameters.iter().map(|p| query(*p, self.dialect)));
        let item = self.paths.make_object().entry(path).make_object();
        for (method, operation) in operations {
            item.insert(*method, operation.clone());
        }
        if !shared.is_empty() {
            item.insert("parameters", Value::array(shared));
        }
    }
}
