// Package session lets two owners' parties run a job of package psi that both owners signed for (求交会话), and leaves evidence of it:
// the plan with keys and terms, the owners' approvals, the authenticated connection, the certificate. Single lookups of package
// psi/lookup go over the same connection, under terms of their own.
//
//	Plan, Lookup  what both owners agree on: parties, their keys, sizes, threshold, authority, quota, term
//	Approve       an owner signs the digest for its party; Decide holds the own approval to the plan before any link
//	Run           links (mpc/wire), approvals and nonces exchanged, session = SM3(plan, keys, approvals, nonces), new link keys; then the
//	              job; then each side signs the transcript, the points it sent and those it got, and gets the other's before it has a result
//	Certificate   plan, approvals, nonces and both records: verified offline, it holds no element, no size of an intersection and no sum
//	Serve, Ask    a table of results and answers of one length; over the quota there is a refusal of the same length
//
// The first party of a plan listens and the second calls it. Every failure is an error without a result: Denied before a link, and
// otherwise of the kinds of *psi.Abort and *wire.Abort, naming the party that is known to have broken a rule and never an element. The
// deadline is the plan's, from a party's start. The last message of a job is as everywhere: who loses it aborts while the other has its
// result. Clock and randomness are passed in.
//
// It keeps no ledger and writes no file: near-repeats, quotas and jobs run once are its caller's, who has the set.
package session
