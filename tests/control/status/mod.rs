//! What agents write to the cluster: Leases, the leader's office, the history of memberships, addresses, Events.
//! Agents are the real stage, `lb_agent::status`; what the other stages would tell it, the test tells.

mod addresses;
mod clear;
mod cluster;
mod election;
mod events;
mod flow_key;
mod follower;
mod membership;
mod secret;
