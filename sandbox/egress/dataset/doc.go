// Package dataset checks a de-identified data set (class E, 去标识数据集) before it comes before reviewers, marks the recipient's copy and
// writes its outgoing bytes.
//
// The gate hands over the rows of a sealed view, which it has read itself, with whose row each is; no file of an asker comes here. In order:
//
//	labels       every text in the one form in which labels leave (egress.Label)
//	k            every class of equal quasi-identifiers has at least K people, not rows, before the mark and after it
//	l            every class has at least L different values of each sensitive column, in what leaves
//	mark         the recipient's mark (package mark), with enough positions to name the recipient from a part of the copy
//	order        rows sorted by what they say
//	shingles     runs of sensitive values as they stand in a row of the source, above a share, are refused (scan.Shape)
//	caps         rows and bytes of one request
//
// Sources: rules 24, 25 and 28 of the gate. K and L hold for the finest classes, those before the mark: whatever the marks of two
// recipients make of a class, what their copies differ by is whole such classes. Every check is an item of the class's checklist with what
// it found in numbers of rows and people, for the agency and the owners; no value is named.
//
// Not looked at: what a sensitive value tells beyond its class (t-closeness), and amounts of people across copies, which the plan has coarsened.
package dataset
