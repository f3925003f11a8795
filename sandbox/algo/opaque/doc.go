// Package opaque is what the author of an Opaque algorithm imports (不透明算法开发包): native code that sees the rows of several subjects at once in a
// sealed view, and gives one declared output. 依据: 龙华区实施方案 九(一) 原始数据不出域.
//
// Code that sees several subjects can write any of them into what it gives, so nothing it gives is believed. It is a table of registered labels and
// whole numbers in declared ranges and steps (class F), of so many rows at most; or a model in a form that the gate parses (class D). The domain
// decodes it, clips, quantises, sorts, counts the bits that it may carry, encodes it anew, and two reviewers of two organisations judge it always.
//
// Build for GOOS=linux with CGO_ENABLED=0; the program runs in the jail, on what the agency approved:
//
//	func main() { opaque.Main(declaration, clusters) }
//
//	var declaration = opaque.Declaration{
//		Input:   "enterprises",
//		Columns: []opaque.Column{{Name: "x", Type: "int"}, {Name: "industry", Type: "text"}},
//		Chart: &opaque.Chart{Name: "industries", Labels: []opaque.Label{{Name: "industry", Of: []string{"A", "C"}}},
//			Values: []opaque.Value{{Name: "east", Unit: "m", Min: 0, Max: 50000, Step: 500}}, Rows: 2},
//	}
//
//	func clusters(v *opaque.View, out *opaque.Output) error {
//		for r := range v.Rows() {
//			x, ok := v.Int(r, 0)
//			...
//		}
//		return out.Row([]int{0}, 12500)
//	}
//
// There is no file, network, environment or clock to trust; what is printed is counted and thrown away. It runs twice, with the same seed, and what
// it gives must be the same bytes: randomness comes from View.Seed alone, and sums over maps and goroutines in an order of their own are not the same.
// An error, a panic, a hang, more memory than declared, or an output that was not declared ends the job; who asked learns one uniform code.
//
// Form of a view, little-endian, every part at a multiple of 8 bytes: "opdview2", rows and columns and whether there are subjects as uint32 each, the seed
// as uint64; then each declared column: of numbers a bitmap of missing values and int64 each; of texts their number and bytes as uint32, the places of
// their ends, the bytes, and per row the text's number plus one, 0 where it is missing; last the number of the subject of each row, from 0,
// rows of one subject standing together; without subjects rows and texts are in an order that says nothing. Money and numbers are in units of their scale, dates in days since 1970, a bool 0 or 1.
//
// The package imports the standard library and sandbox/jail/guest only. Errors are *Error: place and rule, never a value.
package opaque

// Version (开发包版本) is the version of the form of views and outputs.
const Version = "1"
