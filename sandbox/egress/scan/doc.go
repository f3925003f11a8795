// Package scan looks into what would leave, of any class, for what must not (出域内容扫描): identifiers however they are written, rows
// that are people, and more bytes, types or bits than were agreed.
//
// Source: rules 23, 24 and 25 of the gate; identifiers by the standards of sandbox/classify. It sees outgoing text only, knows nothing
// of who asked, and names place and rule, never a value.
//
//	identifier   resident identity number (18 and 15 digits), residence permit, credit code, mobile, bank card, passport, HKID, plate,
//	             e-mail, address, coordinates; in free text also what classify finds there: names, landlines, vehicle numbers
//	opaque       text that is in a code nobody declared, or nested deeper than is looked
//	row-level    rows that are people: see Shape
//	size         see Caps
//
// Forms: plain; full-width and other digits, spaced, hyphenated, with characters without width between; Chinese numerals; reversed;
// base64 (both alphabets, from any of four beginnings), hexadecimal, of text and of a number; percent, JSON and HTML escapes;
// gzip and zlib inside one of those; one inside the other, to a depth of 3; UTF-16 inside; one number over two to six
// neighbouring cells of a row or of a column; numbers stored as integers, as decimals and with an exponent.
//
// The declared role of a column says what chance may do there. In labels and texts one find is enough. A sum in fen may have
// eleven digits that begin as mobiles do, so in amounts mobiles are not looked for; a card's check digit passes one number in
// ten, so cards in amounts, and weaker forms in general (HKID among codes of its shape, reversed mobiles, numbers over several cells), are
// found when the column has more of them than chance gives with a probability of a millionth, or, in labels, when fewer than
// twenty values have the shape at all. So a single card among many amounts, and a single mobile over several cells, are not
// found: the gate computes amounts itself. Fifteen-digit identity numbers, which have no check, are not looked for over cells, nor
// mobiles behind a cell that reads as a year. Counts have no eleven digits: whatever is valid there is found.
//
// Tokens that keep the format of what they replace pass its check by intention: a column with the role Token is held to shape
// alone. Not found: numbers that were multiplied, shifted or encrypted, other encodings than these, pictures.
//
// Work is linear in the input: what decoding yields is bounded, and what exceeds the bound is opaque. Nothing fails: bytes that
// are not UTF-8 are looked at as they are.
package scan
