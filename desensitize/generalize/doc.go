// Package generalize generalises quasi-identifiers (准标识符泛化) and finds the full-domain generalisation of a table that
// satisfies k-anonymity and its kin (K-匿名模型族) at the least loss of information.
//
// Hierarchies (泛化层次): files in the form of ARX, value;level 1;level 2;…, or built-in rules for administrative areas, ICD-10,
// GB/T 4754 industries, ages and dates. A Column applies one level of a hierarchy to an Arrow column.
//
// The 20 sections of GB/T 4754-2017 and the blocks of ICD-10 were held against public transcriptions by a reader, the standards
// themselves not being at hand: equal, but for A90-A99, kept wider than the list's A92-A99 so that the old codes of dengue fever
// (A90, A91) stay in a block. A test holds both tables to what was compared.
//
// Models: k-anonymity (Samarati and Sweeney 1998), distinct, entropy and recursive (c,l)-diversity (Machanavajjhala et al.
// 2007), t-closeness with equal or ordered ground distance (Li et al. 2007), k-map, δ-presence (Nergiz et al. 2007). A class
// (等价类) counts only if its size is at least k and every other model holds; the rows of failing classes are suppressed
// (抑制), at most ⌊limit·n⌋ of n. The reference distribution of t-closeness is the whole table's, suppressed rows included.
//
// Metrics: discernibility DM = Σ|class|² + suppressed·n; average class size AECS = n/(classes + 1 if rows are suppressed);
// height = sum of levels; non-uniform entropy in bits, Σ log2(f(generalised)/f(value)) over the cells, a suppressed cell
// counting as generalised to everything. Lower is better.
//
// The search is exact: every node of the lattice is evaluated or excluded by a rule that holds for it. The rules, with
// their proofs, are in search.go. Optimality is reported as proven only if the search ended by itself.
//
// Time and memory: rows are read once, into distinct combinations of values with their counts. A node's classes are rolled
// up from the smallest finer node that is kept. Bounds: MaxClasses combinations, MaxLattice nodes, Goal.CacheBytes of kept
// nodes; Table.Bytes tells what is held.
//
// Promises: what does not fit a hierarchy becomes "*"; a hierarchy with holes is refused where it is read, before any row;
// no error or printed form carries a value. Errors are sandbox.Error: Invalid for input that breaks a rule, TooLarge
// over a bound, NotFound for a column, Conflict when a table changed between two readings or no solution exists.
//
// It does not: recode locally (each column has one level for all rows), judge two releases of one table together (k of each
// is not k of both), find out which columns are quasi-identifiers, or follow GB/T 37964-2019 by the clause, whose text was
// not read.
package generalize
