//! What the node needs of images and of the network, as traits, so that tests can stand in.

use std::collections::BTreeSet;

use async_trait::async_trait;
use timonier_meta::{Environment, Time};
use timonier_network::{PodNet, PodNetwork, PodRequest};
use timonier_oci::{Digest, GcLimits, GcReport, Image, ImageStore, PullOptions};

/// The images of the node.
#[async_trait]
pub trait Images: Send + Sync + 'static {
    /// An image that is here, by any of its names.
    async fn resolve(&self, name: &str) -> timonier_oci::Result<Image>;
    /// Pulls an image.
    async fn pull(&self, reference: &str, options: PullOptions) -> timonier_oci::Result<Image>;
    /// All images.
    async fn list(&self) -> timonier_oci::Result<Vec<Image>>;
    /// Removes what is not in use, within the limits.
    async fn gc(
        &self,
        in_use: BTreeSet<Digest>,
        limits: GcLimits,
    ) -> timonier_oci::Result<GcReport>;
    /// The directory whose disk fills up.
    fn dir(&self) -> std::path::PathBuf;
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> timonier_oci::Result<T> + Send + 'static,
) -> timonier_oci::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[async_trait]
impl Images for ImageStore {
    async fn resolve(&self, name: &str) -> timonier_oci::Result<Image> {
        let (store, name) = (self.clone(), name.to_string());
        blocking(move || store.resolve(&name)).await
    }

    async fn pull(&self, reference: &str, options: PullOptions) -> timonier_oci::Result<Image> {
        ImageStore::pull(self, reference, &options).await
    }

    async fn list(&self) -> timonier_oci::Result<Vec<Image>> {
        let store = self.clone();
        blocking(move || store.list()).await
    }

    async fn gc(
        &self,
        in_use: BTreeSet<Digest>,
        limits: GcLimits,
    ) -> timonier_oci::Result<GcReport> {
        let store = self.clone();
        blocking(move || store.gc(&in_use, &limits)).await
    }

    fn dir(&self) -> std::path::PathBuf {
        ImageStore::dir(self).to_path_buf()
    }
}

/// The pods' network.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Gives a pod its namespace and address; one that has them keeps them.
    async fn attach(&self, request: PodRequest) -> timonier_network::Result<PodNet>;
    /// Takes them away; no error where there is none.
    async fn detach(&self, uid: &str) -> timonier_network::Result<()>;
    /// The pods that have them.
    fn list(&self) -> Vec<PodNet>;
    /// Whether a pod has them.
    fn has(&self, uid: &str) -> bool;
}

#[async_trait]
impl Network for PodNetwork {
    async fn attach(&self, request: PodRequest) -> timonier_network::Result<PodNet> {
        PodNetwork::attach(self, request).await
    }

    async fn detach(&self, uid: &str) -> timonier_network::Result<()> {
        PodNetwork::detach(self, uid).await
    }

    fn list(&self) -> Vec<PodNet> {
        PodNetwork::list(self)
    }

    fn has(&self, uid: &str) -> bool {
        PodNetwork::has(self, uid)
    }
}

/// The clock and randomness of the process.
pub struct NodeEnvironment;

impl Environment for NodeEnvironment {
    fn now(&self) -> Time {
        crate::machine::to_time(std::time::SystemTime::now())
    }

    fn random(&self) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new().build_hasher().finish()
    }
}
