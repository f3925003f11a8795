package opaque

import (
	"context"
	"encoding/json"
	"os"

	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

// Func (不透明函数) is an author's code: it sees a view and gives an output.
type Func func(*View, *Output) error

// Main is an algorithm's main: in the jail it answers the host; with the one argument "declare" it prints its declaration, for its author's build.
func Main(d Declaration, f Func) {
	if err := d.Check(); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(2)
	}
	if len(os.Args) == 2 && os.Args[1] == "declare" {
		if err := json.NewEncoder(os.Stdout).Encode(d); err != nil {
			os.Exit(2)
		}
		return
	}
	if err := guest.Answer(func(context.Context, []byte) ([]byte, error) {
		b, err := guest.Dataset()
		if err != nil {
			return nil, err
		}
		return Answer(f, b, &d)
	}); err != nil {
		os.Exit(1)
	}
}

// Answer runs a function on a view, as Main does in the jail, and gives the bytes of its output: for authors' tests, and dry runs on made data.
func Answer(f Func, view []byte, d *Declaration) ([]byte, error) {
	v, err := ReadView(view, d)
	if err != nil {
		return nil, err
	}
	out := newOutput(d)
	if err := f(v, out); err != nil {
		return nil, err
	}
	return out.bytes()
}
