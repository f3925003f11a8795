package desensitize

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/sandbox"
)

// Operation (脱敏算子) transforms a column: as many rows, the same order. Those of package mask also count (Counter) and say their
// type (Typed).
type Operation interface {
	Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error)
}

// Counter (计数算子) is an Operation that counts what it masked and what did not fit. For one that is none, every value that is
// not null counts as masked.
type Counter interface {
	Run(mem memory.Allocator, a arrow.Array) (arrow.Array, mask.Count, error)
}

// Typed (类型声明) is an Operation that says which type it makes of a type, and whether it takes it.
type Typed interface {
	Type(in arrow.DataType) (arrow.DataType, bool)
}

// SubjectOperation (按主体算子) transforms a column knowing whose row each is: date shift.
type SubjectOperation interface {
	Apply(mem memory.Allocator, a arrow.Array, who []sandbox.Pseudonym) (arrow.Array, error)
}

// Failing (失败计数算子) is an Operation that counts over its life the values that did not fit and were hidden.
type Failing interface{ Masked() int64 }

// counted applies op and counts.
func counted(op Operation, mem memory.Allocator, a arrow.Array) (arrow.Array, mask.Count, error) {
	if c, ok := op.(Counter); ok {
		return c.Run(mem, a)
	}
	out, err := op.Apply(mem, a)
	return out, mask.Count{Masked: int64(a.Len() - a.NullN())}, err
}
