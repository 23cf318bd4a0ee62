//! edgelb's test harness: packets, test runs, the network lab. The tiers that use it are the folders beside `src`.
