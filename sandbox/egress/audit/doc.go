// Package audit hides further cells of a table and proves how far the hidden ones can be told (二次抑制与区间审计). It knows nothing of
// engines, files or the gate: a Table is cells with whole-number values in layers, bound by linear equations, some of them
// primary, that is, unsafe by themselves.
//
//	Table ─ Protect → Report: pattern and its cost, least cost or a bound of it, intervals; or a Refusal
//
// A reader is assumed to know every published value, every equation, and the bounds of values. The feasible interval of a hidden cell is
// from the least to the most it can be in any table of whole numbers that agrees with all that. It must reach Need.Up above the
// true value and Need.Down below it, or be Need.Width wide. Sources: Handbook on Statistical Disclosure Control, ch. 4; rules 15–17 of
// the gate. What a Need is, the caller's rules say; see Amount.
//
// A width counts when two other tables show it. The true table solves the equations, so that a search starts from it and
// needs no first phase: it finds a move, by how much an alternative table differs, and the move is proven in whole numbers against every equation
// and bound before anything rests on it. A search that fails, or finds only fractions, makes a cell narrow, never wide. Bounds from the
// dual are not needed for safety: they only say that an interval is no wider.
//
//   - Two-way tables, one dimension hierarchical at most, are networks: moves are maximum flows.
//   - Others go through a primal simplex in whole numbers over one denominator. No decision is in floating point.
//   - One alternative table proves many cells, and is kept while its cells stay hidden: most searches are skipped.
//   - Contributors know their own part (View): the sole one of a cell knows it exactly, others know at least so much. Only cells whose proof
//     touches what a contributor knows are searched again for it.
//   - Cells known together, the hidden ones of an equation and two whose sum follows exactly, must pass Safe. Sums of
//     three and more that follow from several equations, and what several contributors know together, are not looked at.
//
// Which cells to hide: a cheapest path for each cell that is too narrow, what turns out superfluous is shown again, and for tables of
// up to 64 cells that may be hidden (Options.Search) a search for the least cost with cuts from the audit. Report.Optimal says
// that no certified pattern costs less; otherwise Report.Bound is a bound. Costs are the caller's: value, people, or 1.
//
// Linked tables and earlier releases are more cells and equations (Join); cells released before are Fixed and never hidden. A
// table over MaxCells, or one that takes more than a stated number of steps, is refused as too large to certify.
//
// Errors are sandbox.Invalid and name the layer, cell or equation by number: duplicate cells, inconsistent margins, negative
// values where there are none, values beyond ±2^60. Decimal values come in through Scaled, which refuses what is not a number.
// The package keeps no clock, draws no randomness, and the same table gives the same report on every machine.
package audit
