//! A name and its meaning in one place, for the programs and for the generated reference.

/// One name of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name as it is written: a header, a label, a path.
    pub name: &'static str,
    /// One sentence for the reference, without a full stop.
    pub meaning: &'static str,
}

/// Constants with their meaning as documentation, and a table of all of them.
macro_rules! described {
    ($(#[$doc:meta])* $table:ident: $($constant:ident = $name:literal, $meaning:literal;)+) => {
        $(#[doc = $meaning] pub const $constant: &str = $name;)+
        $(#[$doc])*
        pub const $table: &[$crate::Described] = &[
            $($crate::Described { name: $constant, meaning: $meaning }),+
        ];
    };
}

pub(crate) use described;
