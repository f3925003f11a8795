// Package join brings the tables of two owners together over shares (受控关联统计): people of the left table, such as a bank's loans, are
// looked up in the right one, such as a bureau's subsidies, and what was found becomes a group. Who is in both stays unknown to everybody,
// and so does how many are. 依据: 多方安全计算 "可用不可见", JR/T 0196-2020.
//
// # Protocol
//
// Sort, compare, add up (Huang, Evans, Katz, NDSS 2012), on replicated shares of three parties: nothing is revealed on the way, so that no
// cardinality has to be declared, and what was matched stays in shares for the group-by.
//
//  1. Below the share boundary each owner adds up its rows: the left one by person and group, the right one by person, who has one kind
//     there. Tables are padded to the plan's size with rows of nobody.
//  2. The rows of both are sorted by pseudonym and side, so that a person's right row stands before the person's left rows.
//  3. A segmented scan carries the right row's kind and values down to the left rows of the same person.
//  4. A cell is a left group with a right kind, or with none. Membership of rows in cells, people, sums and the two largest contributions
//     of each cell are computed over shares, and likewise of the right table's people whom the left one does not have.
//  5. The gate's primary rules are decided over shares. What opens is a bit for each group, and its cells' numbers where the bit is set.
//
// # What each party learns
//
// Question.Learns lists it as data. All three: sizes on the plan, the operators with their Leakage (a uniformly random order for each key
// bit of the sort), and the outputs, unless the plan lets them open to one. Of who is in both tables, nobody learns more than the shown cells' numbers say: to an owner, who knows
// its own rows, they can say who (Limits). The pseudonyms' key is the two owners'; the third party has none, and its shares alone are
// uniform. A key serves one job (SubjectKey), so that tables of two jobs are not matched through it.
//
// # Rules
//
// Those of package egress for sums over non-negative contributions: frequency of people, and of people who add something; (n,k) dominance
// for n of 1 or 2; p%; contributions that are all alike. Of a flag, yes or no of a person, both sides have at least the threshold.
//
// The owners see the outputs, and each knows its own table: what it has of a group, less what is shown, is an output too. A bank that knows
// its hundred farmers and learns that 98 of them have a subsidy, and what those repaid, can tell which two have none. So a group is shown
// whole or not at all: each of its cells that has anybody passes, those who were found nowhere among them, asked for or not, and there are two
// such cells at least, since who of a group is all in one cell is known to have it. Nothing is shown unless of each kind that the right
// table has those whom the left one does not have pass as well. A cell that breaks a rule in one measure breaks it for all; one that nobody
// is in looks like one that may not be shown. No totals over cells open; comparison with other answers is the gate's.
//
// It does not decide who may ask; the plan, approvals and certificate are package mpc's. A person twice on the right gives wrong totals.
//
// # Limits
//
// Rules hold for cells. They do not hold against an owner who sees exact outputs and knows, or chose, what it put in:
//
//   - Values: contributions of 2^39 + 2^i differ too little for the rules on concentration, and the sum of a cell says exactly which of
//     its people are in it, up to some thirty of a group.
//   - Groups: one of people known to be in both, people known to be in neither, and one more shows by its two counts which that one is.
//   - Honest rows: what a bank repaid to its dozen of a trade can have one subset only that adds up to what is shown.
//
// Neither model keeps an owner from choosing its rows: inputs are its own word. Against it is what is outside the protocol: the other
// owner's approval of question and size, its ledger of earlier jobs, tables that a unit pushed and signed. Where an owner is not
// trusted with who is in both, it must not see exact outputs: the plan names another recipient, and what is released in the end is
// judged by people who know who sees it.
package join
