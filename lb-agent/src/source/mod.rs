//! Objects -> state: the manifests folder, one `Index` for every source, translation. Knows `model` only.
