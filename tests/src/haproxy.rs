//! A real HAProxy on free ports in a temporary folder, killed on drop.
