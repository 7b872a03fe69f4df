//! A TCP proxy with faults: delay, stall, reset, stop after n calls.
