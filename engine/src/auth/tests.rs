//! Tests of the cores of authentication together.

mod csv;
mod denied;
mod known;
mod oracle;
mod passwords;
mod vectors;
