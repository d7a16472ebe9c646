//! Dynamic resource allocation: what is dropped, refused and warned of.

use timonier_object::value;

use crate::common::Api;

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
const SLICES: &str = "/apis/resource.k8s.io/v1/resourceslices";

#[tokio::test(start_paused = true)]
async fn claims_and_slices() {
    let mut api = Api::start().await;
    let claim = |admin: bool| {
        value!({ "metadata": { "name": "c" }, "spec": { "devices": { "requests": [{ "name": "a",
            "exactly": { "deviceClassName": "gpu", "adminAccess": admin, "tolerations": [{ "operator": "Exists" }] } }] } } })
    };
    assert_eq!(
        api.fails("POST", CLAIMS, &claim(true), 422).await,
        "ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace"
    );
    let mut made = api.create(CLAIMS, claim(false)).await;
    let request = &made.at("spec.devices.requests").items()[0];
    assert!(request.at("exactly.tolerations").is_null(), "{request}");
    assert_eq!(request.at("exactly.count").as_i64(), Some(1));
    made.set(
        "spec.devices.requests",
        value!([{ "name": "b", "exactly": { "deviceClassName": "gpu" } }]),
    );
    let moved = api.fails("PUT", &format!("{CLAIMS}/c"), &made, 422).await;
    assert!(
        moved.contains("spec: Invalid value:") && moved.ends_with("field is immutable"),
        "{moved}"
    );
    let slice = value!({ "metadata": { "name": "s" }, "spec": { "driver": "d.example", "nodeName": "n",
        "pool": { "name": "n", "generation": 1, "resourceSliceCount": 1 },
        "devices": [{ "name": "x", "taints": [{ "key": "k", "effect": "NoExecute" }] }] } });
    let made = api.create(SLICES, slice.clone()).await;
    assert!(made.at("spec.devices").items()[0].at("taints").is_null());
    let mut bad = slice;
    bad.set("metadata.name", "t");
    bad.set("spec.nodeName", value!(null));
    assert_eq!(
        api.fails("POST", SLICES, &bad, 422).await,
        "ResourceSlice.resource.k8s.io \"t\" is invalid: spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    );
}
