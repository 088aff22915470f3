//! Hand-made payloads.
