//! Sagas over the real embedded adapters: every way in which a step can go wrong, many buyers at
//! once, and dice.

mod cancel;
mod crowd;
mod keeper;
mod matrix;
mod plot;
mod storm;
mod waiting;
