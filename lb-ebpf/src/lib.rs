//! The packet path as pure steps that also compile and run on the host: parse, look up, select, encapsulate.

#![no_std]
