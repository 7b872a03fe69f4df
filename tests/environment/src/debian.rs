//! HAProxy, Redis and the libraries under every program, out of Debian 13: the newest versions that
//! its archive has, as trees of files for the images and for the component tests.
//!
//! The package index is downloaded at most once a day. A tree is named by the versions in it; when
//! the archive cannot be reached, the last tree stays in use.

mod apt;
mod files;
mod package;
mod programs;
mod store;
mod suite;
mod trees;

pub use package::Package;
pub(crate) use package::{parse_words, words};
pub use programs::{Programs, programs};
pub use store::newest;
pub(crate) use store::{Debian, Tree, provide};
pub(crate) use suite::architecture;
