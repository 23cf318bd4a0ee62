//! aya's licence to copy map keys and values as bytes.

use aya::Pod;

use crate::capture::{Filter, Slot};
use crate::fragment::{Datagram, DatagramKey};
use crate::map::{Bench, Config, Member, Service, TableHead, Traffic};
use crate::service_table::{ServiceBucket, ServiceKey4, ServiceKey6};

macro_rules! pod {
    ($($name:ty),+) => {
        $(
            // SAFETY: `repr(C)`, integers only, without padding: `map` asserts each size.
            unsafe impl Pod for $name {}
        )+
    };
}

pod!(
    Bench,
    Config,
    Datagram,
    DatagramKey,
    Filter,
    Member,
    Service,
    ServiceBucket<ServiceKey4>,
    ServiceBucket<ServiceKey6>,
    Slot,
    TableHead,
    Traffic
);
