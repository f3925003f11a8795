// Package node is the composition root (授权运营域节点): the one place that wires keys, vault, store, evidence log, policy,
// engines, gate, release, meter and bill into a running domain, and implements api.Service.
//
// A domain is one folder: domain.json (public description, held to the log's first event), keys/, vault/, ledger/, log/,
// domain.db, and calendar.json if the district keeps its own working-day calendar. Everything else is sealed, signed or a
// digest; no ingested text stands in any file. One process serves a folder at a time (a lock file refuses the second).
//
// Promises. State and evidence change together: an event is written to the store's outbox in the transaction that makes
// the change, appended to the log after it, and drained again at the next start if the process died between the two;
// an event is appended exactly once. Nothing is returned to a caller before its evidence is durable. Anything an asker
// learns before keys open explains itself; anything that depends on data is one uniform code, paid from the bit budget.
// Failure of any layer refuses; no switch weakens a check.
//
// It does not parse requests or check their signatures (sandbox/api does) and holds no rule of its own: rules live in
// grant, consent, policy, egress.
package node
