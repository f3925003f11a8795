// Package noise protects the numbers of a result that may leave (出域加噪), by one of three mechanisms; it decides nothing about who may
// ask, and keeps no budget.
//
//	rounding       to a base, half away from zero; totals are added up from rounded cells          OpenSAFELY; SDC Handbook ch. 5
//	cell keys      a count moves by the entry of a table that the people in its cell pick          Fraser and Wooton 2005; SDC Handbook ch. 5
//	differential   bounded contributions, Gaussian noise, private selection of groups              Balle and Wang 2018; Desfontaines et al. 2022
//
// Cell keys: what a person adds to a count has a key, 64 bits of HMAC-SM3 over pseudonym and rows; a cell's key is their sum modulo
// 2^64, and picks the entry. So the same people with the same rows give the same noise, whoever asks, in whatever form, on every
// version, and asking again averages nothing. The table has mean zero, a declared variance and a bound that stays secret; no count
// becomes negative, and zero stays zero. It protects counts only.
//
// Differential privacy is (ε, δ) for one protected subject added or removed with all its rows. ε is in 10⁻⁶ and δ in 10⁻¹², whole
// units. A subject counts in at most so many cells of one answer, chosen by a keyed hash of the subject and the cell alone, and is
// clipped in each, so the sensitivity is exact. Noise is Gaussian by github.com/google/differential-privacy/go/v3, whose sampling time
// does not follow the noise (its Laplace's does: correlation 0.14 to 0.50 with its magnitude, arXiv 2112.05307); values are integers, so
// that no low bit of a float tells them. Groups leave by private selection, after at least so many people.
//
// Randomness: cell keys and rounding draw none. The library draws from crypto/rand by itself and takes no reader, so differential noise
// cannot be passed in and has no seed: what it gives is kept by the caller, and tests hold it to its distribution.
//
// Errors: Invalid for parameters, naming the rule. No error holds a value. Safe for concurrent use.
package noise
