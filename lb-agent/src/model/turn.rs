//! Agents of one node follow each other at its packet path.

/// Where this agent stands among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Turn {
    /// It has not asked for the packet path yet.
    #[default]
    Before,
    /// Another agent has it, and is to hand it over.
    Waiting,
    /// This agent has it: nobody else writes maps, or speaks for the node.
    Holding,
    /// The next agent has it. This one serves the connections that it has accepted.
    After,
}
