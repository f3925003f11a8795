// Package token replaces values by keyed tokens (令牌化): irreversible HMAC-SM3 tokens (GB/T 32905, GB/T 15852.2), one-block
// SM4 tokens (GB/T 32907), and tokens that keep their value's format by FF1 (NIST SP 800-38G) over SM4.
//
// Every operation is a struct made by a constructor from a Key, with one method Apply(mem, array) over a whole Arrow column.
// Columns are String, Int64 (read as its decimal text) or a dictionary of strings, whose values are replaced and whose
// indices stay. Row count, order and nulls are kept; slices are read from their offset. Buffers are allocated per column,
// none per row. The caller releases what Apply gives. Operations are safe for concurrent use.
//
// Promises. The same value has the same token in every table of one scenario and partner; other scopes have unrelated
// tokens, because their keys are. Different values have different tokens: SM4 and FF1 are permutations, HMAC is cut to 128
// bits, so two of 2^40 values meet with probability below 2^-48. Values are brought to one form first (see Normal): the
// same in it, the same token, and Reverse gives that form back.
//
// A token never equals its value. For HMAC and SM4 tokens the text's form makes that certain or 2^-128 (see the types). A
// permutation of a format has one fixed point on average in its whole domain; which one is known only when the value is
// met, and no local rule moves it without a second encryption of a neighbour for every row. Such a value is masked whole
// and counted, as one that does not fit. Domains that are no power are reached by cycle-walking: FF1 runs over the least
// r^4 that holds the domain and again while the result lies outside. That is a permutation of the domain without bias,
// and since r^4 is within 14 % of every domain allowed (0.2 % of identity numbers) few rows walk twice.
//
// Fails closed: a value that does not fit its format becomes Masked, whole, and is counted by Masked(); in an integer
// column it becomes null. A format of fewer than 1,000,000 values is refused by the constructor (Denied). Errors name the
// operation and the rule, never a value.
//
// Not here: which columns get which operation (the plan's), approval and record of a reversal (the caller's).
// Tokens are still personal information (GB/T 35273, 3.15 and its de-identification guide GB/T 37964, both known by name
// only): whoever holds the key can link them.
package token
