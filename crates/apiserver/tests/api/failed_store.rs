//! A store whose disk failed: nothing is read from it any more.

use timonier_object::{Value, value};
use timonier_store::{Location, MemoryDisk, Options, Store};

use crate::common::{Api, config, master, server_with};

#[tokio::test]
async fn nothing_is_read_after_a_failed_sync() {
    let disk = MemoryDisk::new();
    let stamp = timonier_apiserver::storage::stamp;
    let options = Options { stamp, ..Options::default() };
    let store = Store::open(Location::Memory(disk.clone()), options).await.unwrap();
    let mut api = Api::to(server_with(config(), store).await, Some(master())).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let map = value!({ "metadata": { "name": "m" } });
    api.create(path, map.clone()).await;
    disk.set_broken(true);
    assert_eq!(
        api.call(
            "PUT",
            &format!("{path}/m"),
            &value!({ "metadata": { "name": "m" }, "data": { "a": "b" } })
        )
        .await
        .0,
        500
    );
    disk.set_broken(false);
    for path in [format!("{path}/m"), path.into(), format!("{path}?watch=1")] {
        let (code, status) = api.call("GET", &path, &Value::Null).await;
        assert_eq!(code, 503, "{status}");
        assert!(status.at("message").str().contains("must be restarted"), "{status}");
    }
    assert_eq!(api.call("GET", "/readyz", &Value::Null).await.0, 500);
}
