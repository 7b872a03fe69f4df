//! A simulated cluster that plans are applied to: pods with clients, proxies with agents, an API
//! server, and an operator that restarts, is late and loses writes. Time is a counter, chance is a
//! seed: a failure can be replayed. The invariants I1 to I12 are in `docs/architecture.md`.

mod api;
mod clients;
mod invariants;
mod ledger;
mod life;
mod operator;
mod pass;
mod random;
mod script;
mod server;
mod settings;
mod tests;
mod world;
