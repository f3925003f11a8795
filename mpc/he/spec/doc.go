// Package spec runs questions on homomorphic ciphertexts (密态统计): it compiles what sandbox/query derived to a layout of package he, adds up a
// unit's rows for it, and says of a question that stops there which operator stops it and what would do. 依据: 龙华区实施方案 九(一) 原始数据
// 不出域, 可用不可见.
//
// A question of one input is over rows that several units hold, each its own: filters, groupings and products of columns are taken at the
// unit, on its rows alone, and the units' totals are added under encryption. The groups are public and the same at every unit before
// anything is encrypted: all labels of registered bins, of bands, of bool columns and of enumerated texts, or labels that the caller
// fixes. A row whose label is none of them counts nowhere, as under a filter: a unit that stopped for it would tell whoever fixed the labels that there is one.
//
// A question of two inputs that are joined by the person (Joined) is over products: each unit holds one input, adds up for each person on an
// agreed list what a total takes of it, and the products of both are taken under encryption. How many people an output is of is exact
// there; nobody's contribution passes the product of the largest that either unit states.
//
// Values are those of the columnar engine on all units' rows together, to the bit; its tests hold them to it. Evidence is by unit, with bounds
// across units (he.Output), because nobody compares people of two units.
//
// Bounds: values below 2^47 in size, 2^31 rows of a unit, 16 measures, 64 columns, 65,536 groups. Errors are *sandbox.Error and name column and
// rule, never a value; whether a unit has one depends on its rows, so the asker is shown none. Refusals are from descriptions only and may
// be shown.
//
// It does not decide who may ask, nor what may leave, and carries no messages.
package spec
