//! The verified program on single packets, by `BPF_PROG_TEST_RUN`, beside the same steps on the host.

mod away;
mod capture;
mod cases;
mod check;
mod complexity;
mod echo;
mod encapsulation;
mod fragments;
mod icmp;
mod limits;
mod probe;
mod quic;
mod random;
mod replay;
mod socket;
mod state;
mod two_keys;
mod walk;
mod wire;
