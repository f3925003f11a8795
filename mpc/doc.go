// Package mpc lets three parties answer one question over tables that none of them may see (多方安全计算): the plan all agree on, the
// owners' approvals, the session that binds them, and the certificate that says afterwards who took part in what. Links come from
// mpc/wire, arithmetic from mpc/share. 依据: JR/T 0196-2020 多方安全计算金融应用技术规范.
//
// # One run
//
//	Plan       who computes what, under which adversary model, from which padded tables, to which outputs
//	Approval   each party's owner signs the plan's digest; a party takes part in no other job, and once in this one
//	Join       links, nonces, session id = SM3(plan, keys, approvals, nonces), new link keys, keys of the pairs
//	Engine     the straight line of operators, the same program at every party
//	Reveal     proofs checked, transcripts signed and compared, all confirm, outputs open, receipts compared
//
// The session's id goes into every frame's key and associated data and into every statement. A transcript statement holds the running
// digests of all links and of the public trace of operators; each party compares its ends of the links and the trace with the others'
// statements, signs that it saw all of them, and nothing opens before three such signatures are there. Under malicious with abort the
// digests cover the payloads, so that both ends of a link are bound to what was in its frames. Under the semi-honest model they cover the
// frames' tags, which bind everybody but the two ends, who know the key: three parties are shown to have agreed, and nobody is convicted.
//
// # Ends
//
// Every failure is one *wire.Abort at every party by the deadline, without outputs. The last message of a run is the exception no
// protocol can close: who loses a receipt aborts while others have the outputs. A job that aborted is spent: another attempt is another
// plan, approved anew.
//
// A domain that serves with zones (opdomain serve --shares) plans such runs for its questions, as joins or inquiries, and is the first party of each; the others
// run opdomain-party.
//
// # What it does not do
//
// It does not decide what may leave: the domain's party gives them to the gate. Where
// Output.Recipient names one party, the two others see them under its mask only; an output without a recipient is with all three zones
// before any gate. It does not hide what the plan declares: sizes of the
// registered buckets, outputs, operators. Two colluding parties see everything; the plan and the certificate say so.
package mpc
