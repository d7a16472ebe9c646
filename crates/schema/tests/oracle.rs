use std::collections::BTreeMap;
use timonier_object::*;
use timonier_schema::*;
fn load(n: &str) -> Value {
    json::decode(
        &std::fs::read(format!(
            "/tmp/schema-go/gopath/pkg/mod/k8s.io/kubernetes@v1.35.0/api/discovery/{n}.json"
        ))
        .unwrap(),
    )
    .unwrap()
}
#[test]
fn disc() {
    let c = Catalogue::builtin();
    for gv in c.group_versions() {
        let d = discovery::resources(&c, &gv).unwrap();
        let n = if gv.group.is_empty() {
            "api__v1".to_string()
        } else {
            format!("apis__{}__{}", gv.group, gv.version)
        };
        let u = load(&n);
        let idx = |v: &Value| -> BTreeMap<String, Value> {
            v.at("resources")
                .items()
                .iter()
                .map(|r| {
                    let mut r = r.clone();
                    if let Some(Value::Array(a)) = r.get_mut("shortNames") {
                        a.sort_by(|x, y| x.str().cmp(y.str()));
                    }
                    (r.at("name").str().to_string(), r)
                })
                .collect()
        };
        let (a, b) = (idx(&d), idx(&u));
        for (k, v) in &b {
            match a.get(k) {
                Some(w) if w == v => {}
                w => println!("{gv} {k}:\n up {v}\n me {:?}", w.map(|x| x.to_string())),
            }
        }
        for k in a.keys() {
            if !b.contains_key(k) {
                println!("{gv} extra {k}")
            }
        }
    }
    let u = load("aggregated_v2");
    let d = discovery::aggregated(&c, false, "v2");
    for g in d.at("items").items() {
        let ug = u.at("items").items().iter().find(|x| x.name() == g.name()).unwrap();
        for v in g.at("versions").items() {
            let uv = ug
                .at("versions")
                .items()
                .iter()
                .find(|x| x.at("version") == v.at("version"))
                .unwrap();
            if uv != v {
                for r in v.at("resources").items() {
                    let ur = uv
                        .at("resources")
                        .items()
                        .iter()
                        .find(|x| x.at("resource") == r.at("resource"));
                    if ur != Some(r) {
                        println!("AGG {} {}\n  {:?}", g.name(), r, ur.map(|x| x.to_string()));
                    }
                }
            }
        }
    }
}
