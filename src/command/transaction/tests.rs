//! To be filled
