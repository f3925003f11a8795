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
// bit of the sort), and the outputs. Of who is in both tables, nobody learns more than the shown cells' numbers say. The pseudonyms' key
// is the two owners'; the third party has none, and its shares alone are uniform. A key serves one job (SubjectKey), so that tables of two
// jobs are not matched through it.
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
// It does not decide who may ask; the plan, approvals and certificate are package mpc's. Under the semi-honest model an owner who brings a
// table that is not its own, or a person twice on the right, gets wrong totals; what it may learn stays what the outputs say. Small
// domains: an owner could bring every identifier there is; the rules hold for cells, not for rows, so that what it gains is bounded by
// them, and its plan is signed by the others' owners at a size.
package join
