//! The body is in `server/tests/server/fuzz/handshake.rs`.
#![no_main]
#![expect(dead_code, reason = "each target calls one of the bodies")]

#[path = "../../tests/server"]
mod server {
    pub(crate) mod fuzz;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| server::fuzz::handshake::check(input));
