//! An image from the archive of a root filesystem, as `docker import` makes it.

use std::io::{self, Read, Write};

use crate::build;
use crate::config::{ConfigFile, History};
use crate::error::Result;
use crate::image::Image;
use crate::manifest::{
    Descriptor, Manifest, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
};
use crate::options::RootfsOptions;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{BlobWriter, ImageStore, NewImage, chain_id};
use crate::unpack::compression::{self, Compression};

impl ImageStore {
    /// Makes an image with one layer from an archive of a root filesystem, plain or compressed.
    /// Blocks.
    pub fn import_rootfs(&self, archive: impl Read, options: &RootfsOptions) -> Result<Image> {
        let tags: Vec<Reference> = match &options.name {
            Some(name) => vec![Reference::parse(name)?],
            None => Vec::new(),
        };
        let platform = options.platform.clone().unwrap_or_else(Platform::host);
        let mut config = ConfigFile {
            architecture: platform.architecture,
            os: platform.os,
            variant: platform.variant,
            ..ConfigFile::default()
        };
        build::apply_changes(&mut config, &options.changes)?;
        let operation = self.begin()?;
        // Layers are never xz: such an archive is stored plain.
        let (compression, whole) = compression::peek(archive)?;
        let input: Box<dyn Read + '_> = match compression {
            Compression::Xz => Box::new(compression::decode(whole)?.1),
            _ => Box::new(whole),
        };
        let mut tee = Tee { input, copy: BlobWriter::new(&operation)?, head: Vec::new() };
        let (layer, info) = self.unpack_stream(&operation, &mut tee, &[])?;
        // The copy must be whole, also where the decoder saw no reason to read on.
        io::copy(&mut tee, &mut io::sink())
            .map_err(|source| crate::Error::Io { context: "read archive".to_owned(), source })?;
        let media_type = match compression::detect(&tee.head)? {
            Compression::None | Compression::Xz => OCI_LAYER,
            Compression::Gzip => OCI_LAYER_GZIP,
            Compression::Zstd => OCI_LAYER_ZSTD,
        };
        let blob = tee.copy.finish()?;
        self.place_blob(&blob)?;
        let chain = chain_id(None, &info.diff_id);
        if self.layer_info(&chain).is_none() {
            self.place_layer(layer, &chain, &info)?;
        }
        // The same archive gives the same image, whenever it is imported.
        let created = timonier_meta::Time::from_unix(info.newest).rfc3339();
        config.created = Some(created.clone());
        config.rootfs.diff_ids.push(info.diff_id);
        config.history.push(History {
            created: Some(created),
            created_by: Some("timonier image import --rootfs".to_owned()),
            comment: options.message.clone(),
            ..History::default()
        });
        let config = config.to_bytes();
        self.put_bytes(&operation, &config)?;
        let layer = Descriptor::new(media_type, blob.digest, blob.size);
        let manifest = Manifest::new(Descriptor::of(OCI_CONFIG, &config), vec![layer]).to_bytes();
        let new = NewImage { manifest: &manifest, tags: &tags, repo_digests: &[], now: None };
        self.register(&operation, &new)
    }
}

/// Keeps a copy of what is read.
struct Tee<R> {
    input: R,
    copy: BlobWriter,
    head: Vec<u8>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.copy.write_all(&buffer[..n])?;
        let missing = 8usize.saturating_sub(self.head.len()).min(n);
        self.head.extend_from_slice(&buffer[..missing]);
        Ok(n)
    }
}
