// Package mask hides values of columns (数据脱敏): vectorised operations over Arrow buffers that keep the number of rows and
// the places of nulls. Texts keep some of their characters and have the others replaced by marks; numbers and dates are
// rounded or put into buckets; any column can be redacted or made constant.
//
// It follows the terms of GB/T 37964-2019 (masking, suppression, generalisation; the standard's annexes were not read) and the
// list of 龙华区 requirements for names, identity numbers, mobiles, cards, addresses, dates and numbers.
//
// # Rules of every text operation
//
// Characters are Unicode code points after NFC. A value that does not fit the operation's pattern is masked whole and
// counted as failed (失败即全遮): too short, another shape, a wrong check digit, not UTF-8. Spaces and full-width forms are not
// forgiven: a text that needs cleaning is cleaned before, or hidden. An empty text stays empty. With Style.Width 0 a hidden
// part keeps its length; with another width every hidden run becomes that many marks, and lengths are hidden too.
//
// What a null slot or the space around a slice covers is not copied. A dictionary is transformed once; values that become
// equal become one entry, unused values are dropped and entries are numbered by first use, because the old numbering
// would tell apart, and order, what the operation made equal.
//
// Units: positions and lengths are code points; numbers are in the column's stored unit (fen, scaled integers), dates are
// days since 1970-01-01. Types: text is utf8 or a dictionary of it, numbers are int64, dates date32.
//
// Errors are Invalid for a column of another type and for options that hide nothing, TooLarge when a batch's text would
// pass 2 GiB; no value is in them. Operations are immutable and safe for concurrent use.
//
// Not here: keyed tokens, noise, generalisation by hierarchy, free text. Masking alone is no anonymisation: rare values and
// lengths may still point at a person.
package mask
