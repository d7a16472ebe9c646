//! Nobody takes the room of all others.

use timonier_object::value;
use timonier_policy::User;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::common::{Api, PODS};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Begins a request whose body never comes.
async fn slow(api: &Api, user: User) -> DuplexStream {
    let (mut near, far) = tokio::io::duplex(1 << 16);
    let server = api.server.clone();
    tokio::spawn(async move { server.serve_stream(far, Some(user)).await });
    let head = format!(
        "POST {REVIEWS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
    );
    near.write_all(head.as_bytes()).await.unwrap();
    near
}

#[tokio::test(start_paused = true)]
async fn slow_requests_of_one_user_stop_only_that_user() {
    let mut api = Api::start().await;
    let jane = || User::authenticated("jane", []);
    let mut held = Vec::new();
    for _ in 0..650 {
        held.push(slow(&api, jane()).await);
    }
    // The last one is answered: it has no place any more.
    let mut status = [0; 12];
    held.last_mut().unwrap().read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 429");
    let review = value!({});
    let mut same = api.another(Some(jane())).await;
    let why = same.fails("POST", REVIEWS, &review, 429).await;
    assert_eq!(why, "Too many requests, please try again later.");
    assert_eq!(same.raw("GET", "/livez", &[], "").await.0, 200);
    let mut other = api.another(Some(User::authenticated("joe", []))).await;
    other.create(REVIEWS, review).await;
    let kubelet = User::authenticated("system:node:n", ["system:nodes".into()]);
    let mut node = api.another(Some(kubelet)).await;
    let path = format!("{PODS}?fieldSelector=spec.nodeName%3Dn");
    assert_eq!(node.raw("GET", &path, &[], "").await.0, 200);
    api.get(PODS).await;
    drop(held);
    while same.call("POST", REVIEWS, &value!({})).await.0 != 201 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
