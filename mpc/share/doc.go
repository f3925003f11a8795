// Package share computes on columns that nobody holds (秘密分享): replicated sharing among three parties over the integers modulo 2^64
// and over bits, without a dealer (Araki, Furukawa, Lindell, Nof, Ohara: ePrint 2016/768; conversions after Mohassel, Rindal: ABY3,
// ePrint 2018/403; shuffle after Laur, Willemson, Zhang 2011).
//
// # Sharing
//
// A value is x = x0 + x1 + x2 modulo 2^64 (Vec), or the exclusive or of three words (Words) or bits (Flags). Party i holds x_i and
// x_(i+1), indices modulo 3. Two neighbours i-1 and i share the key k_i; its generator gives the randomness that both need without a
// message. One party's view is uniform whatever the values are; two parties together know everything.
//
// # Engine
//
// Every operator takes whole columns and every party runs the same straight line of calls, so that all messages, their lengths and their
// order follow from public sizes. Operators never change their arguments. The first failure stays: operators after it send nothing
// and give zeros of the right length, Err tells it, and nothing opens. Only an Opener opens, and an engine gives one, to whoever made
// it. Columns have equal lengths where two meet; a breach of that is an error of kind Invalid before a message goes.
//
// What an operator tells the parties beside sizes is in Leaks, as data. Values are int64 in two's complement unless an operator says
// otherwise. Messages are little-endian words; a machine of the other order is refused.
//
// # Adversaries
//
// SemiHonest: one party may read all it holds. MaliciousAbort: one party may also send what it likes; then a wrong output is opened with
// probability below 2^-40, and the run ends instead. Operators without a check are refused under MaliciousAbort, never run without.
// Conversions between words and integers, comparisons, selections and sorts are made of products, and-gates and shuffles, and are checked
// as these. Nothing opens, not even a sort's places, before what it was made of is proved.
//
// The checks (verify.go, gates.go, moved.go, proof.go) are distributed proofs in the spirit of Boneh, Boyle, Corrigan-Gibbs, Gilboa, Ishai
// (ePrint 2019/188) and Boyle, Gilboa, Ishai, Nof (CCS 2019), by random linear combinations. Products first, over the integers modulo
// 2^128. Party i, as prover, sent z_i = x_i·y_i + x_i·y_(i+1) + x_(i+1)·y_i + F_i - F_(i+1).
// Its neighbour i-1 knows x_i, y_i, z_i and F_i, its neighbour i+1 knows x_(i+1), y_(i+1) and F_(i+1). So
//
//	x_i·y_(i+1) + x_(i+1)·y_i = c - e + 2^64·w,   c known to i-1, e known to i+1, w the carry,
//
// holds over 2^128 for the carry w which the prover shares between the two, 8 bytes a product. A public coin, tossed after the shares
// came, weighs all these equations into one inner product <u, v> = t with u known to i-1, v to i+1 and t shared. Three rounds at most cut u and v
// into up to 32 blocks; the prover shares the matrix G of the blocks' inner products, the trace must be t, and coins r, s fold u, v and t to
// Σ r_i u_i, Σ s_j v_j and Σ r_i s_j G_ij. In the last round a block of randomness joins, after which the two show each other what is left.
//
// Soundness. A product that is wrong modulo 2^64 makes an equation whose error has 2-adic valuation v ≤ 63, whatever w the prover
// takes. Each coin is a linear form on errors fixed before it: weighing, then G·s, then r·(G·s), where an error of the trace means an error on
// the diagonal. A linear form with uniform 64-bit or longer coefficients raises the least valuation by a or more with
// probability ≤ 2^-a (for a ≤ 64). The cheat passes if the raises of q = 1 + 2·rounds forms sum to 65 or more: at most the
// probability that q-1 or fewer of 64+q fair coins show heads, which is below 2^-43 for q = 7. Coins come from the
// stated generator under a key of 128 bits.
//
// And-gates are the same equation over GF(2), proved in GF(2^64) (field.go): x_i·y_(i+1) + x_(i+1)·y_i = c + e has no carry, so that gates cost
// no bytes of their own, 36 KB and about 12 rounds for up to 2^20 words. Each word has a weight of 48 random bits, each of its places another
// power of x. The first cut's blocks are the 64 places, so that vectors stay bits until a word is one element; later cuts have up to
// 16 blocks. A wrong gate passes if the weighing maps its word's error to 0, 2^-48, or a coin its matrix's, 2^-63 a cut of seven at
// most: below 2^-47.
//
// Shuffles: moved.go has the equations. Integers join the products' proof with 8 bytes of carry a value, words the gates' proof without.
// The order stays hidden from the party that may not know it, since the weights moved by it are a vector of the proof.
//
// Replicas of columns that came from outside are compared by a random linear combination modulo 2^128, error below 2^-64. An opened
// value comes from both parties that hold what is missing. Where two copies differ, which of the two lied is not known, and not named.
//
// # Generators
//
// AES in counter mode (AESGenerator) is a stated generator: it makes randomness between two parties and protects no stored or sent
// byte. SM4Generator is SM4 from attest/sm. Counters only grow; Ledger lists what was used.
//
// It does not authenticate, has no transport and no inputs: package mpc brings them.
package share
