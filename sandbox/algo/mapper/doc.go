// Package mapper is what the author of a Map imports (逐主体算法开发包): code that must see rows, run once per protected subject in a wasm module
// whose memory is thrown away after each, so that nothing of one subject reaches another's values. 依据: 龙华区实施方案 九(一) 原始数据不出域.
//
// A Map gets the rows of one subject and yields, for at most so many registered groups, values in declared ranges and steps. The domain clips them,
// rounds them to their steps, and reduces them over all subjects with the evidence that the gate needs: it never leaves to the Map what a
// group comes to. Build for GOOS=wasip1 GOARCH=wasm with -buildmode=c-shared:
//
//	func main() {}
//
//	func init() { mapper.Handle(declaration, ride) }
//
//	func ride(s *mapper.Subject, y *mapper.Yields) {
//		for r := range s.Rows() {
//			km, ok := s.Int(r, 1)
//			...
//		}
//		y.Yield([]int{band}, score)
//	}
//
// There is no file, network, clock, randomness or environment. What a Map prints is counted and thrown away; where it traps, runs out
// of time or yields what it did not declare, its subject yields nothing, and how many did is told to reviewers and owners alone.
//
// A module exports opdomain_alloc and opdomain_map, which see a subject, and opdomain_declare, which gives the text of the declaration (Encode). It is
// asked for whenever the module is started, before any data: one that says another thing than its manifest does not run.
//
// The form: a subject is rows of values in the declared order of columns, little-endian; a yield is a label's number per group and a
// value per value declared, as whole numbers of the value's scale. The package imports the standard library only.
//
// Not done: a Map over a sealed view (it sees granted columns as they are, of grade 3 and personal ones where their owner signed for map-raw); opdomain
// algo build of modules in languages other than Go. A Go module costs some 13 ms a subject, most of it its own start.
package mapper
