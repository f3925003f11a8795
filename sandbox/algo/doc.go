// Package algo is what the author of an algorithm imports (算法开发包): a Program is straight-line Go over handles to columns, recorded
// as one complete graph on public shapes and run by the domain, never by the author's code. 依据: 龙华区实施方案 九(一) 原始数据不出域,
// 数据可用不可见.
//
// Build for GOOS=wasip1 GOARCH=wasm, as opdomain algo build does: a domain takes a Program in no other form. The image is started once, before any key opens, in a process without
// files, network, clock or environment; Main records the graph, writes it out and the process ends. So no value, length, order or error
// that depends on data ever reaches the author's code: handles have no values, and nothing comes back.
//
//	func main() { algo.Main("district-cost", program) }
//
//	func program(p *algo.Program) {
//		claims := p.Input("claims", algo.Text("district"), algo.Money("amount"), algo.Text("kind"))
//		g := claims.Group(algo.By("district", claims.Label("district", "")))
//		paid := claims.Number("amount")
//		p.Reveal("cost", g, algo.Out("claims", g.Count()), algo.Out("mean", g.Mean(paid)))
//	}
//
// # What a Program may say
//
//	Rows      inputs, inner and left joins by the protected subject or by declared keys, filters
//	Label     a public column, or a column through a bin its owner registered; bands of a number
//	Flag      a label is one of some; a number is at least a constant; and, or, not
//	Number    columns, constants, points of a label; add, subtract, multiply, polynomial, sigmoid, select
//	Groups    rows by labels and flags
//	Aggregate count, subjects, sum, mean, dot, quantile and their kin over a group; arithmetic between aggregates
//	Fit       a linear or logistic regression, its iterations fixed by the domain
//	Reveal    the only sink: a table of aggregates by group (class A); RevealModel: a Fit (class D)
//
// Rows and numbers of rows are never revealed. What compiles, under which column rules, and how sums over select and polynomials become
// elementary measures that each pass the gate, is said in package compile.
//
// # Units and errors
//
// Constants are decimals of at most 15 digits before the point and 9 behind. Money is in 元 with two decimals. Numbers carry the unit that
// their columns declare: what is added or compared has one unit, products multiply units, a sigmoid takes a number without unit.
// The first mistake in a Program is kept with the author's file and line, further calls record nothing, and Record gives it as an
// *Error. The package imports the standard library only.
package algo

// Version (开发包版本) is the version of the graph's form. A host runs the versions it knows; the number changes when recorded graphs do.
const Version = "1"
