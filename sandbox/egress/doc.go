// Package egress is the gate (出域审核): it decides on evidence the engine computed whether an answer may leave, writes the
// outgoing bytes itself, compares them with everything that left before, and holds the reviewers' votes.
//
//	Answer → Book.Linked → Check: primary rules per cell → secondary suppression and audit → Result (our own bytes) → content scan
//	       → Book.Compare with every earlier answer on the same datasets
//	       → Review: two blind votes of two organisations, the second the agency, or a standing template → Approval → release
//
// Rules, with their sources; n counts distinct people, X is the sum of what they add by magnitude, x1 ≥ x2 ≥ … its parts:
//
//	frequency    n < MinSubjects, also of people with a value             ACRO, ABS, district thresholds
//	dominance    x1 + … + xn > k% of X, (n,k)                             Handbook on Statistical Disclosure Control ch. 4
//	p-percent    X − x1 − x2 < p/q·x1, q of 100 the p% rule               the same
//	all-equal    every contributor adds the same, or nobody anything      class disclosure, ACRO
//	negative     contributions of both signs are judged by magnitude      ACRO
//
//	degrees      fewer than 10 residual degrees of freedom                ACRO
//	function     a function without a rule                                fail closed
//	bits         Σ log2 of how many values each number could be > MaxBits the whole result is withheld
//
// Where the owner names a holding (控股集团或户) of its subjects, dominance and p-percent judge what a holding adds too, and a holding is who is alone
// in a cell or adds most to it; frequency stays a matter of people. The ledger judges what is left of a cell by people.
//
// Two findings suppress nothing, for hiding would say it too; they send a result to people whatever template it has (Flag): a line of a
// table in which one category holds nine tenths of the people or more (ACRO's class disclosure), and a tenth or more of a cell's rows without a value.
//
// Sums and means, and both sums of a ratio, are held to the first five; row counts, distinct counts and labels of a histogram to all but
// all-equal; logistic regressions, whose outcome is the same for many, likewise; counts of people to frequency. A histogram must not
// leave out few people whose label is missing either. A value that is no total is held to frequency by the people it rests on from
// any side: a quantile by those at or below it and those at or above (it leaves rounded to two digits, for it is a value somebody has);
// variance, its kin and regressions, for each of their columns, by those whose own mean is above the cell's and those whose is below, so
// that one person, or few, whose number in a regressor is another have no coefficient of their own, in whatever order columns are named.
// These are held to degrees too, by the same count or the degrees of freedom, whichever is less. What people add, equal or to most of a
// sum, is judged of the first column. Extremes
// are one person's own value: their cell is judged, and they leave as redacted, unless the owner's rule calls them structural: then
// enough people must have a value, whoever holds it. Parameters come from the district profile and stay
// secret from askers. A cell that breaks a rule is published as suppressed, never
// dropped and never with a number; a group with no rows is no cell.
//
// Labels leave in one form (Label): what reads the same is the same bytes. Two groups that read the same are withheld.
//
// The gate then selects what the question shows: groups of at least so many, the first so many. It selects among the cells that may
// leave; suppressed ones stay listed, and the ledger keeps all that may leave.
//
// Classes other than A have their own checks (E: package dataset): what their gate made is a Product, in the one encoding of the class
// (form.go), with what each item of the class's checklist (classes.json) found. A product whose list is not held in every item is
// withheld, and the approval of a kept review holds the list once more. Votes name the class. Where an owner's signature is asked for the
// agency votes after it.
//
// Secondary suppression (package audit) looks at every margin of the table: the table as a whole, and the cells that agree on
// any of its dimensions. A margin's total counts as known, published now or later, unless the margin is suppressed whole and its total
// breaks a rule itself. Then:
//
//   - in each margin the suppressed cells taken together must pass the primary rules, and so must a cell or two cells whose
//     value or sum follows from several margins;
//   - of every cell that breaks a rule, each number that adds up (people, rows, what people add) must be open, for all that leaves and the
//     knowledge that amounts are not negative if none is: a count MinSubjects wide where people are few, an amount by what p% and (n,k)
//     ask, or p percent of its largest part where the cell breaks another rule. A count of rows with a label is held to this unless
//     it is 0;
//   - that holds for everybody, for whoever is alone in such a cell and knows it, and for whoever adds most to one and knows the own part
//     of every cell;
//   - cells of earlier answers on the same datasets enter, where cells of this one lie inside them by their people: they bound what those add up to.
//
// Cells to hide are chosen by the people in them: the least there is, where a search of bounded steps proves it, else with a bound on
// it. A table that cannot be certified in bounded steps is withheld; one that no choice protects is suppressed whole.
// Widths rest on alternative tables in whole numbers, proven exactly. Not looked at: several contributors who combine
// what they know, sums of three and more cells that follow from several margins, and numbers that do not add up, beyond what they are computed from.
//
// The ledger keeps, per dataset, who adds what to each published cell of every answer under review or released, over all
// recipients together. A new answer is withheld whole when it and earlier ones give too small a group away:
//
//   - one of its cells and an earlier cell differ on people who are more than nobody and fewer than MinSubjects (in one but
//     not the other, or adding something else), or differ in one measure on so few people's amounts;
//   - what is left of a cell, when cells that lie inside it are taken away, breaks a primary rule: one cell, all such cells
//     of one answer, or cells of several answers that share nobody, in whatever order the answers were asked;
//   - a linear combination of cells of any answers, whatever its signs and factors, vanishes on all but fewer than MinSubjects people
//     and not on all: what it comes to is those people's. Source: rank tests of linear disclosure.
//
// Cells of several answers that are subtracted are chosen by size, each of the 64 largest once as the first choice; whether what is left
// is one person's mostly is tried for these choices only. Combinations are searched over the new answer and the 512 nearest cells in
// all: an answer with more, unless its cells share nobody with each other and with earlier ones, or whose combinations reach further groups that are not ruled out, says so to its reviewers, and only they release it.
// A rule that looks at each side of a difference alone would also withhold cells that merely overlap, which no subtraction takes apart.
//
// A Review is one state machine (Machine, 出域审核状态机): sealed, scanned, checked, voted on blindly, consolidated. A refusal is a veto
// that only who gave it lifts; a conflict is the agency's lead's, who may return or reject it. A return carries a comment its author
// reads and resets the votes; an appeal is made once and judged by others; an owner's veto is final; a release is revoked with a
// notice. Approvals are bound to bytes, round, recipient, expiry and policy, and Release holds them to the moment. Classes are
// checklists as data (classes.json); a class that this domain does not produce is refused by name, an unknown one always.
//
// Round, Perturb and CheckPrivate protect what may leave by the strictest noise rule of the columns used (package noise); rules and ledger
// look at exact values before.
//
// A trained model of class D comes from package model, which judges it on the rows it was trained on; Trained makes its product.
//
// A chart of class F is what code that saw several subjects gives (Charted): a table of registered labels and numbers in declared ranges and steps,
// without other text. No evidence stands behind its numbers, for the code chose them: what they may carry is counted as if it meant to tell all it saw,
// its rows are held against every row it saw (scan.Traces), and two reviewers, told so, judge it always.
//
// It reads no rows, opens no file, keeps no clock. Populations are keyed tokens, grade 4, sealed by the caller.
package egress
