// Package egress is the gate (出域审核): it decides on evidence the engine computed whether an answer may leave, writes the
// outgoing bytes itself, compares them with everything that left before, and holds the reviewers' votes.
//
//	Answer → Check: primary rules per cell → secondary suppression → Result (our own bytes) → content scan
//	       → Ledger.Compare with every earlier answer on the same datasets
//	       → Review: two votes of two organisations, the second the agency → Approval → release
//
// Rules, with their sources; n counts distinct people, X is the sum of what they add by magnitude, x1 ≥ x2 ≥ … its parts:
//
//	frequency    n < MinSubjects, also of people with a value             ACRO, ABS, district thresholds
//	dominance    x1 + … + xn > k% of X, (n,k)                             Handbook on Statistical Disclosure Control ch. 4
//	p-percent    X − x1 − x2 < p/100·x1                                   the same
//	all-equal    every contributor adds the same, or nobody anything      class disclosure, ACRO
//	negative     contributions of both signs are judged by magnitude      ACRO
//
//	degrees      fewer than 10 residual degrees of freedom                ACRO
//	function     a function without a rule                                fail closed
//
// Sums and means, and both sums of a ratio, are held to the first five; row counts, distinct counts and labels of a histogram to all but
// all-equal; logistic regressions, whose outcome is the same for many, likewise; counts of people to frequency. A histogram must not
// leave out few people whose label is missing either. A value that is no total is held to frequency by the people it rests on from
// any side (a quantile by those at or below it and those at or above), and variance, its kin and regressions to degrees. Extremes
// are one person's own value: their cell is judged, and they leave as redacted, unless the owner's rule calls them structural: then
// enough people must have a value, whoever holds it. Parameters come from the district profile and stay
// secret from askers. A cell that breaks a rule is published as suppressed, never
// dropped and never with a number; a group with no rows is no cell.
//
// The gate then selects what the question shows: groups of at least so many, the first so many. It selects among the cells that may
// leave; suppressed ones stay listed, and the ledger keeps all that may leave.
//
// Secondary suppression looks at every margin of the table: the table as a whole, and the cells that agree on any of its
// dimensions. In each, the suppressed cells taken together must themselves pass the primary rules, else the smallest
// published cell of the margin is suppressed too; and over all of them, no cell that breaks a rule may be the one solution
// of the equations that the totals and the published cells make. So no total of the table, published now or later, gives
// a cell away exactly. What remains open is intervals: a linear program over several margins with the knowledge that
// amounts are not negative may narrow a suppressed cell, and an audit by one would suppress more.
//
// The ledger keeps, per dataset, who adds what to each published cell of every answer under review or released, over all
// recipients together. A new answer is withheld whole when it and earlier ones give too small a group away:
//
//   - one of its cells and an earlier cell differ on people who are more than nobody and fewer than MinSubjects (in one but
//     not the other, or adding something else), or differ in one measure on so few people's amounts;
//   - what is left of a cell, when cells that lie inside it are taken away, breaks a primary rule: one cell, all such cells
//     of one answer, or cells of several answers that share nobody, in whatever order the answers were asked.
//
// Cells of several answers are chosen by size, each of the 64 largest once as the first choice, so that not every choice
// of overlapping ones is tried; answers combined with other signs than one whole minus its parts are not searched. A rule
// that looks at each side of a difference alone would also withhold cells that merely overlap, which no subtraction takes
// apart.
//
// It reads no rows, opens no file, keeps no clock. Populations are keyed tokens, grade 4, sealed by the caller.
package egress
