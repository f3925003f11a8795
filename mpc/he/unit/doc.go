// Package unit is a source unit's side of sums over ciphertexts (数源单位密态参与): it decides whether to take part in a plan, and takes part.
//
// A unit believes nothing of what comes with a plan. It compiles the question itself from its own description of its own table, and compares the
// layout; it holds keys of the domain, of the other units and its own to those that its owner approved; it takes no run that does not follow
// from domain and question. What the owner signs is an Approval: this question in this layout, at most with these units, opened by at least so
// many of at least so many, for so long; or one plan alone. Other keys under a known name, fewer units or openers are refused by name.
//
// Part runs one epoch over a Carrier, which is trusted with nothing but carrying: everything in a message is signed for the plan. Rows are
// added up before a key is drawn, so that rows that do not fit end the epoch before anything is encrypted. A process that was stopped lost its
// part of the key with its memory: the ledger refuses the epoch, the unit says so to the others, and no second share is made.
// 依据: 龙华区实施方案 九(一) 原始数据不出域.
//
// Rows of two units are joined over a list of people that both owners have (Cohort): approved by its digest, compared by each program, known to nobody else.
// Two lists that differ in a few people would have answers that differ by what those few have, and so would one list before and after the rows of a few
// changed: Lists keeps sketches of earlier ones, of those whom the unit had of them, and of what they had, and refuses what is nearly one of them. That a list is
// near to another follows from lists alone, and is said; what follows from rows is left for as any fault in rows is.
//
// Errors are *sandbox.Error, *he.Abort or *Left, and name no value. It does not read tables, and does not know what is done with a result.
package unit
