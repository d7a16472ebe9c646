//! Jobs: each selects its own pods by its uid, unless its writer knows better.

use timonier_object::Value;

/// Writes the selector and the template's labels.
pub fn on_create(job: &mut Value) {
    if job.at("spec.manualSelector").bool() {
        return;
    }
    let (uid, name) = (job.uid().to_string(), job.name().to_string());
    let labels = job.entry("spec.template.metadata.labels").make_object();
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels.insert(key, value.into());
    }
    let selector = job.entry("spec.selector.matchLabels").make_object();
    selector.insert("batch.kubernetes.io/controller-uid", (&uid).into());
}
