//! A member's word on one connection.

/// Whether a member has a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The member's name.
    pub name: String,
    /// Its id.
    pub id: u16,
    /// Whether its kernel has it; `None` if it did not answer in time.
    pub has_connection: Option<bool>,
}
