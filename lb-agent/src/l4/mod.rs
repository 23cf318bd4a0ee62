//! State -> BPF maps: plan, Maglev fill, loader, pins, routes, neighbours. Knows `model` and `lb-common`, nothing of L7.
