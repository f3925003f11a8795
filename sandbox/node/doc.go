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
// # Over shares
//
// A question with a dataset whose rows a zone keeps (Shares) is planned for three parties, the domain the first of them, to which alone outputs
// open. One that fits a join of two tables by person (mpc/join: people, counts and sums by one grouping of each) is one. Any other, with filters, means, moments, quantiles, conditions on cells, other joins or larger tables, is an inquiry
// (mpc/agg), or is refused by the line's reasons: each owner filters its own rows before it shares them. Of what is joined over shares a group is
// shown whole or not at all in either form, those left over on both sides counted. Zones are told the columns that the question uses, and
// of how many rows the domain has nothing but the registered size.
//
// A dataset outside may be at no zone: its unit, which is no party, then pushes shares of its rows to all three for each question anew (mpc/push), and
// the domain joins a run once it has its own. The question is an inquiry whose first dataset that is; filters on it are worked out over shares. A version
// that moved, from a zone to its unit or to another key, answers nothing more: who holds it now cannot compare. The domain keeps its shares until the run
// is joined or the question ends.
//
// Nobody holds whom a cell that opened is of, so that what can be compared is compared before: once a run of an inquiry has read rows over a version of
// a dataset outside, or is to where any has, questions over it are over the same rows in the same cells, or over rows that a filter
// keeps apart; what the domain's own table comes to is that of an earlier run or differs in enough people; each zone's ledger, and that of a
// unit that pushes, says so of its own.
// The result is flagged: only people release it.
//
// It does not parse requests or check their signatures (sandbox/api does) and holds no rule of its own: rules live in
// grant, consent, policy, egress.
package node
