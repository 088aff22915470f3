//! What one request may cost.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all statements together.
    pub statement_bytes: usize,
    /// Separated by semicolons.
    pub statements: usize,
    /// Parentheses within parentheses.
    pub nesting: usize,
    /// In one expression.
    pub operators: usize,
    /// Columns of one statement, wildcards expanded.
    pub fields: usize,
    /// Groups of GROUP BY time, times the calls that are computed for each of them.
    pub buckets: u64,
    /// Values that one group holds, of functions that need them all (`median`, `percentile`, `distinct`, `top`).
    pub group_values: u64,
    /// Of an answer that is not chunked.
    pub rows: u64,
    /// Of an answer that is not chunked.
    pub answer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement_bytes: 256 << 10,
            statements: 100,
            nesting: 32,
            operators: 1000,
            fields: 10_000,
            buckets: 1_000_000,
            group_values: 4_000_000,
            rows: 1_000_000,
            answer_bytes: 256 << 20,
        }
    }
}
