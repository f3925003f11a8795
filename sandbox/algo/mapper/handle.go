package mapper

// Func (逐主体函数) is an author's code: it sees one subject and yields.
type Func func(*Subject, *Yields)

// handler is what Handle was told; in a domain it is there once in every instance.
var handler struct {
	declaration Declaration
	shape
	f Func
}

// shape is how many columns, groups and values were declared.
type shape struct{ columns, groups, values int }

// Handle says what a Map declares and what it does. It is called once, before the first subject: in init.
func Handle(d Declaration, f Func) {
	handler.declaration, handler.shape, handler.f = d, shape{len(d.Columns), len(d.Groups), len(d.Values)}, f
}

// Run (试运行) runs a function on one subject in this process, as the domain would: for an author's tests.
func Run(f Func, subject []byte, d *Declaration) ([]Yielded, error) {
	b, err := Yielding(f, subject, d)
	if err != nil {
		return nil, err
	}
	return ReadYields(b, d, nil)
}

// Yielding is Run before the host reads what was yielded.
func Yielding(f Func, subject []byte, d *Declaration) ([]byte, error) {
	return run(f, subject, shape{len(d.Columns), len(d.Groups), len(d.Values)})
}

func run(f Func, subject []byte, s shape) ([]byte, error) {
	in, err := ReadSubject(subject, s.columns)
	if err != nil {
		return nil, err
	}
	y := Yields{groups: s.groups, values: s.values}
	f(in, &y)
	if y.b == nil {
		y.b = []byte{} // nothing yielded is no fault
	}
	return y.b, nil
}
