//! aya's licence to copy map keys and values as bytes.

use aya::Pod;

use crate::map::{Bench, Config, Member, Service, ServiceKey4, ServiceKey6, TableHead, Traffic};

macro_rules! pod {
    ($($name:ident),+) => {
        $(
            // SAFETY: `repr(C)`, integers only, without padding: `map` asserts each size.
            unsafe impl Pod for $name {}
        )+
    };
}

pod!(Bench, Config, Member, Service, ServiceKey4, ServiceKey6, TableHead, Traffic);
