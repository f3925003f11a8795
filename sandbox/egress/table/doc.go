// Package table is a table on its own before the gate (独立表格检查): JSON in, what the gate says of every cell out, so that others can test the
// gate (package egress) without running a domain. Nothing of the gate is done again here: a Table becomes the answer an engine would have
// given, and goes through the same Check, Book and audit.
//
//	JSON ─ Decode → Table ─ Judge (egress.Check, Book.Compare) → Report: per cell status, rules, intervals; the pattern and its cost
//
// The format is schema.json (Schema), by example in Example. Cells come in two forms:
//
//   - by contributors: who is in the cell, with their rows and what each adds. Sums, people and shares are computed from them;
//   - by summary: people, and per amount n, top-1, top-2 and sum. The other contributors add what is worst for whoever is to be protected and
//     agrees with that: as many as possible as much as the second, nobody less than one unit. Unless the table says that its contributors
//     are in one cell each (exclusive), those of equal rank in all cells are one person.
//
// Margins are totals published elsewhere, of linked tables too (关联表): each over cells of this table, which must come to it. Earlier
// releases (历史发布), given in the file or kept in a book, are compared by their people; a table of summaries names nobody, so that it is
// withheld wherever something earlier was released on its data.
//
// Amounts are decimals with at most the places of their measure's scale, between ±2^60 units of it. Rules (规则文件) set the thresholds of
// the gate's rules by name. All of the gate's rules apply always: one that is not named keeps its default, an unknown name is refused.
//
// Errors are sandbox.Invalid and name the place and the rule, never a value: what is no JSON, not a number, an unknown or repeated key,
// negative counts, duplicate cells or contributors, margins that its cells do not come to, places beyond a scale. A table too large to
// certify is no error: it is withheld, and the report says so.
//
// Not done: functions other than counts, people, sums and means; a standing ledger (the caller keeps entries); votes and release.
package table
