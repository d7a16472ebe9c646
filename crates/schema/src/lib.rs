//! The catalogue of kinds: schemas, defaulting, validation, OpenAPI, protobuf.
