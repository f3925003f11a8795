// Package agg answers questions over shared tables (分组统计): totals by a public grouping over the rows of several owners, with the gate's
// primary rules decided inside the protocol. What opens is, for each group, one bit that says whether it may be shown, and its numbers where
// the bit is set: distinct people, the largest and the second largest contribution are never opened to anybody.
//
// A person is whom all owners call by one pseudonym, under a key of the owners for this job; contributions of one person from several
// owners are one contribution. Below the share boundary each owner adds up its own rows of a person and a group. Then, over shares: sort
// by group and pseudonym, add up each person's rows, totals and two largest contributions by group, the rules, the masked outputs.
//
// The rules are the gate's (package egress) for sums: frequency, dominance of one, p-percent; amounts are 0 to 2^40-1, so that contributions
// have one sign. Under a plan's model "malicious with abort" a party that deviates in any step ends the run before a bit opens; what an
// owner shares remains its own word, ranges included. Plain is the same question over plain rows: the oracle that tests hold the protocol to. Secondary suppression and
// comparison with earlier releases need more than a bit for a group; they are the gate's, and a result of this package goes to people.
package agg
