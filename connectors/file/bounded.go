package file

import (
	"errors"
	"io"
)

// readAhead is what the csv reader may have buffered beyond the row it is parsing.
const readAhead = 4096

var errLong = errors.New("row over its bound")

// bounded stops a row that never ends, such as one with an unclosed quote, before it fills memory.
type bounded struct {
	in    io.Reader
	given int64 // bytes handed out
	limit int64 // of given, moved on with every row
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.given >= b.limit {
		return 0, errLong
	}
	if rest := b.limit - b.given; int64(len(p)) > rest {
		p = p[:rest]
	}
	n, err := b.in.Read(p)
	b.given += int64(n)
	return n, err
}
