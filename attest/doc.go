// Package attest holds what the domain and its parties sign, and the evidence made of it (存证): statements of parties,
// events of the domain, the recorder that appends events to the SM3 Merkle log of attest/tlog, the evidence bundle and its
// offline verification, and the signature of a request in the shape of RFC 9421.
//
// Everything signed is SM2 (GB/T 32918) under a context that names its kind. A statement carries its JSON body exactly as
// signed. An event is hidden in the log: entry = HMAC-SM3(salt, event) under 32 random bytes, and the payload at rest is
// sealed for each audience of the event, so the log's files hold no text of an event; a payload can be erased, its entry and
// every proof of it stay.
//
// A bundle is text, one JSON object a line in its one encoding: a header with the signed checkpoint, every entry of the
// log in order, the entries its audience may see with salt and event, and the domain's signature over SM3 of all of it.
// Each line ends in a check value chained over the lines before it: it protects nothing, the signatures do, but it says in
// which line a damaged bundle was damaged. VerifyBundle recomputes everything and tells where it stops; a rule that needs
// an entry the audience may not see is reported as not checked, never as passed.
//
// Reviews are followed by their state machine (ReviewMoves): every transition is one that the machine has, by a role that may cause
// it, with the signed act where a party caused it; a release comes out of the state releasing, on two approving votes or on a standing
// template that the agency signed, within its budget. A log in which no review left a move is of an earlier form and is held to votes.
//
// A bundle carries the note that witnesses signed last: VerifyBundle says which of the witnesses.set in sight have signed and
// how many of the first entries they cover. Audit holds the whole log to the same rules. Prove shows one entry, ProveGrowth
// that a checkpoint somebody kept is a prefix of the log; VerifyProof and VerifyGrowth read them offline.
//
// Errors: Tampered for whatever fails verification, naming line, entry and rule; Invalid for input in no known form;
// Unsigned for requests. They carry identifiers and rules, never values. Times are UTC.
//
// Not here: whether a party was right to sign, prices (an invoice's arithmetic is checked, its price book is only named),
// witnesses' signatures, and proof that the domain computed what it says it computed.
package attest
