//! The agent as a whole.

use super::Named;

pub(crate) const AGENT: Named = ("lb_agent", "The agent");
pub(crate) const GENERATION: Named =
    ("lb_agent_generation", "Generation of the state that is live, by stage.");
pub(crate) const PROBLEMS: Named = ("lb_agent_problems", "Problems of the objects, by severity.");
