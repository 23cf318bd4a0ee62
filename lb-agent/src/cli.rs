//! The command line: every flag and its environment variable, and nothing else.
