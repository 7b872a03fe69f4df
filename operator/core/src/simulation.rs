//! A small world that the plan drives: pods with clients, proxies with agents, an API server, and an operator that forgets, is late
//! and loses writes. Time is a counter, chance is a seed: what fails can be played again.
//!
//! The invariants are those of the design (`docs/architecture.md` tells their story): I1 a pod with clients is deleted only by its
//! deadline, after the last client was asked; I2 moves stay in their budget; I3 no drain of ours takes room that clients need; I4 one
//! operation per pod; I5 whatever happens and wherever the operator ends, all comes to one state; I6 no write when nothing changed;
//! I7 no client connects to a pod that sheds; I8 nothing shrinks on missing or old data; I9 some server accepts a new client through every change
//! of the resource; I10 a change of the resource cures what it can cure; I11 the number of pods is limited; I12 a rollout moves a client
//! at most once.

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
