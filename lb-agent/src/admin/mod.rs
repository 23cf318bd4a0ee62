//! Health, metrics, debug API, doctor: what an operator asks the agent. Knows `model`, changes nothing.
