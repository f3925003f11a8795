// Package psi finds what two parties' sets have in common and shows neither the rest (隐私求交): elliptic-curve Diffie-Hellman over the
// SM2 group, hashed to the curve by RFC 9380 with SM3 (Meadows 1986; Huberman, Franklin, Hogg 1999), its cardinality with sorted
// answers, and join-and-sum with ElGamal in the exponent on the same curve (Ion et al., eprint 2019/723, the Diffie-Hellman variant).
// Two owners' parties run its jobs by opdomain-party psi, over the links, approvals and records of mpc/psi/session.
//
// # One job
//
//	hello     both     digest of the plan, nonce, public key of sums, certificate
//	points    both     own elements hashed, padded to the bucket, shuffled and multiplied by a key of this job, in batches of 1024
//	check     both     every point is on the curve, none comes twice, a listed set is the certified one
//	tags      plan     the peer's points multiplied once more, cut to SM3 tags of 16 bytes: in the order they came, which shows the peer
//	                   its members, or in ascending order, which shows it their number and nothing else
//	verdict   plan     whoever counted first says whether the intersection may leave
//	sums      plan     the encrypted values of what matched, added up and rerandomised
//	confirm   both     digest of the transcript; no result is given before both are equal
//
// No tag leaves before all points of the peer have passed, so a peer commits to its set before it learns anything of the other.
// Tags are uniform under the key, hence their ascending order carries nothing of the order of the points, and no choice of the sender
// either. All randomness of a job derives from one Secret, so that an auditor who gets it and the set can recompute every point
// that was sent: Certify before a job, Audit after it.
//
// What each side learns is on the plan (Plan.Learns) and a test holds results to it. Both learn the buckets; message lengths depend on
// these and on nothing else. Both sides follow the protocol but for malformed input, which ends the job before any output as an
// *Abort: it is secure against a semi-honest peer. Against a malicious one it gives less, and the evidence of a job says so:
//
//   - A party may choose its set, also the whole of a small domain: certificate, audit and Ledger are against that.
//   - A party that has tags of both sides counts by itself, so the side that does not get the result counts first where a plan has a
//     threshold. Of one element that it knows to be in the peer's set, a receiver can still make several points that may pass for
//     several matches: against who does that, a threshold holds only where its set is listed.
//   - A sender of a join-and-sum may choose values whose sums tell its elements apart, and learns by that which of them are in the
//     intersection: values are a column of the domain, held by certificate or audit like the set, and the sum goes to the gate.
//   - A receiver of a join-and-sum may add up what it wants; a party may end a job after it has its result and before the peer has.
//
// # Cost
//
// Two scalar multiplications a pair of elements and party, plus hashing. Own points are made and the peer's taken on all workers at
// once while messages are on the link. Memory: Config.Memory for tags, 4 bytes a row for the order, a few MiB of batches; tags over the
// limit go to sealed files as sorted runs. Columns come as in Arrow: offsets and bytes.
//
// Errors are *Abort for what a peer or the link did, and otherwise those of package sandbox: Invalid and TooLarge for plan and set,
// Unavailable for the disk. None carries an element. It opens no connection: a Conn is given. It
// sets no deadline: a peer that falls silent is ctx's to end, or the Conn's.
package psi
