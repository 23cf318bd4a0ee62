//! How objects come in.

use super::Named;

pub(crate) const SOURCE_STORED: Named =
    ("lb_source_stored", "1 while the state is the stored one: the API server has not told everything yet.");
pub(crate) const SOURCE_WATCH: Named =
    ("lb_source_watch", "How each watch goes: 1 for the condition that it is in.");
pub(crate) const SOURCE_SINCE: Named =
    ("lb_source_watch_since_seconds", "Since when it goes so: seconds since the Unix epoch.");
pub(crate) const SOURCE_FAILURES: Named =
    ("lb_source_watch_failures", "Failed attempts to watch or list, by kind.");
