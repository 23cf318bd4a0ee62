//! Folders that change, each in its own way.
