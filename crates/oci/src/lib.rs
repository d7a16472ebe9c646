//! Images: pull, import, unpack, build.
