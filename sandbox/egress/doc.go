// Package egress is the gate (出域审核): it decides on evidence the engine computed whether an answer may leave, writes the
// outgoing bytes itself, compares them with everything that left before, and holds the reviewers' votes.
//
//	Answer → Check: primary rules per cell → secondary suppression → Result (our own bytes) → identifier scan
//	       → Ledger.Compare with every earlier answer on the same datasets
//	       → Review: two votes of two organisations, the second the agency → Approval → release
//
// Rules, with their sources:
//
//	frequency    0 < n < MinSubjects distinct subjects                    ACRO, ABS, district thresholds
//	dominance    x1 + … + xn > k% of the sum, (n,k)                       Handbook on Statistical Disclosure Control ch. 4
//	p-percent    X − x1 − x2 < p/100·x1                                   the same
//	all equal    every contributor adds the same, not zero                class disclosure, ACRO
//	negative     contributions of both signs are judged by magnitude      ACRO
//
// Parameters come from the district profile and stay secret from askers. A cell that breaks a rule is published as
// suppressed, never dropped and never with a number.
//
// Secondary suppression is exact about unions, not about intervals: for the table as a whole and for every line of it (all
// dimensions but one fixed), the suppressed cells taken together must themselves pass the primary rules, else the
// smallest published cell of the line is suppressed too, until nothing changes. So no total of the table, published now
// or later, gives a suppressed group away by one subtraction. What a linear program over several lines could narrow an
// interval to is not bounded here.
//
// The ledger keeps, per dataset, who adds what to each published cell of every answer under review or released, over all
// recipients together. A new answer is withheld whole when the people on whom one of its cells and an earlier cell differ
// (in one but not the other, or adding something else) are more than nobody and fewer than MinSubjects; the same for a
// cell against all cells of the other answer that lie inside it, added up. A rule that looks at each side of the
// difference alone would also withhold cells that merely overlap, which no subtraction takes apart. Combinations of three
// and more answers are not searched.
//
// It reads no rows, opens no file, keeps no clock. Populations are keyed tokens, grade 4, sealed by the caller.
package egress
