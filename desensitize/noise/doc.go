// Package noise changes numbers, categories, dates and the order of rows so that single values are no longer exact (数据扰动):
// additive noise, top and bottom coding, rounding, buckets, micro-aggregation, post-randomisation (PRAM), sampling, shuffling
// and date shift. GB/T 37964 (de-identification guide) lists these techniques; its text was not read.
//
// Every operation is a struct made by a constructor with a method Apply over a whole Arrow column. Row count and nulls are
// kept, except by Sample; slices are read from their offset. Randomness is an io.Reader: the same bytes give the same result.
// Draws are exact: no floating-point logarithm, probabilities are ratios of integers. Operations with a reader serialise
// their calls and so are safe, though not reproducible, under concurrent use; Draw takes a reader for each call instead. The
// others are safe. A table that comes batch by batch is sampled by a Selector and micro-aggregated by a Tally, then a Grouping.
//
// Fails closed: a value the operation cannot treat (NaN, infinite, out of range, an unlisted category, a row without
// subject) becomes null, or token-like "***" in a text column, and is counted by Masked().
//
// Errors: Invalid for parameters, naming the rule; Unavailable where the reader ends. No error holds a value.
//
// Not here: a privacy budget. Noise of a scale is differentially private only for a stated sensitivity and a stated number of
// releases, which the gate accounts.
package noise
