// Package agg answers questions over shared tables (分组统计): totals by group over the rows of several owners, with the gate's primary rules
// decided inside the protocol. What opens is, for each group, one bit that says whether it may be shown, and its numbers where the bit is
// set: distinct people, the largest and the second largest contribution are never opened to anybody.
//
// # Two forms
//
// A Question is a total of one amount by public groups. A Line is any question of the columnar engine: Compile makes it of a query.Derivation and
// a Setting that says who holds which rows, or refuses it by sandbox.Reasons that name the operator and the smallest change that would pass,
// before anything is shared. Programs run as the questions that they compile to.
//
// A person is whom all owners call by one pseudonym, under a key of the owners for this job; contributions of one person from several
// owners are one contribution.
//
// # Where rows are
//
//	parts of one input at owners   filters, labels and products are worked out by each owner, and rows of one person and cell added up,
//	all inputs at one owner        before anything is shared: so are joins, whose rows are at most as many as the registered size
//	inputs at several parties      labels of each input by its owner; joined over shares: rows of both sides in the order of a secret key, what
//	                               the one looked-up row has runs down to those that look for it; rows stay as many as all inputs have
//	pushed as shares               the scanned input of a unit that takes no part: conditions on values as LT and EQ, a missing value apart
//
// Then, over shares: for each quantile the order of cell and value; the order of cell and person; running sums by person and cell; the two
// largest contributions of each cell; the rules; values masked by the bit. Each cell is ended by a row of its own, so that a cell that nobody
// is in is computed like the others. No message's length or number follows from rows, keys or how many match.
//
// # Values
//
// Equal to the columnar engine's, bit for bit, nulls included: count, subjects, sum, mean, ratio, dot, histogram, distinct, quantile, variance,
// stddev, covariance, correlation; having and top over what may leave. Not over shares, and refused: min and max, whose value is one person's;
// regressions; noise; holdings; dominance of more than two; labels that are not listed beforehand. Sums stay exact below 2^55 for all rows
// together, moments where n·Σxy stays below 2^61; columns whose setting says that they are wider are rounded first (moment states the error). An
// owner whose values are wider than agreed stops before it shares.
//
// Of a mean its sum and count open, of a ratio both sums, of variance and its kin n and n·Σxy - Σx·Σy, of a correlation three of those: the
// last step is taken by Read. Everything else of the evidence stays shared. Owners' failing checks are seen by the other parties as an end.
//
// The rules are the gate's (package egress) for a cell on its own: frequency, dominance of one or two, p-percent, all equal, the thinner side,
// degrees of freedom. Secondary suppression and comparison with earlier releases need more than a bit for a cell; they are the gate's, and a
// result of this package goes to people.
//
// A line whose setting says so (Setting.Whole) and that joins over shares shows a group of the scanned input whole or not at all, as package join
// does: by what is shown less its own rows an owner would learn the rest. Its cells that anybody is in pass, and so do those whom the joins and
// the filters on what is joined leave out; of each group of a joined input some are left whom nobody looked up, and they pass; and where it
// follows from what is joined who is in a cell there are two parts at least that anybody is in. Parts left over are held to the rules for
// people and for columns of their own input, not to those for a value that is no total. A line without it judges each cell on its own.
//
// Between two lines over the same rows nothing is compared here. An owner compares what it brings with what it brought before (Passing,
// Contributed); who plans lines sees to it that two over shared rows are over the same cells, as the domain does (sandbox/node).
//
// Under the model "malicious with abort" a party that deviates in any step ends the run before a bit opens; what an owner shares remains its
// own word, ranges and keys that stand once included. Plain is a Question over plain rows; a Line's oracle is the columnar engine.
package agg
