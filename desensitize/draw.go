package desensitize

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize/noise"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Drawing (随机算子) is an operation that draws, from a reader that it is given for each batch.
type Drawing interface {
	Draw(mem memory.Allocator, a arrow.Array, rand io.Reader) (arrow.Array, error)
}

// draws gives the randomness of one run. It follows from the key, the plan's digest and the table alone, so that a run can be
// repeated; each column, and each batch of it, has its own, so that it does not matter in which order they are done.
type draws struct{ key []byte }

const drawsLabel = "opdomain/desensitize-draws/v1"

// draws derives the key of a run over a table. Equal draws for two tables would show what differs between them.
func (p *Pipeline) draws(table string) (draws, error) {
	if !p.Draws() {
		return draws{}, nil
	}
	if table == "" {
		return draws{}, &sandbox.Error{Op: "desensitize", Kind: sandbox.Invalid, Object: p.plan, Detail: "a plan that draws is told which table it runs over"}
	}
	key, err := p.seed.Derive(sm.Size, drawsLabel, string(p.route.Plan), table)
	return draws{key}, err
}

// Draws says whether a run draws: then Stream.Table names what it runs over.
func (p *Pipeline) Draws() bool {
	for _, c := range p.columns {
		if c.draw != nil || c.shuffle {
			return true
		}
	}
	return p.sample != nil
}

// reader gives the randomness of a batch of a column, of what is drawn for the whole column (batch -1), or of the sample.
func (d draws) reader(what, column string, batch int) (io.Reader, error) {
	k, err := sm.HKDF(d.key, nil, sm.Frame([]byte(what), []byte(column), []byte(strconv.Itoa(batch))), sm.KeySize)
	if err != nil {
		return nil, err
	}
	return sm.NewKeystream(k)
}

// seeded refuses what would draw from nothing.
func (s Step) seeded(o Options) error {
	if o.Seed == nil {
		return refusal{"plan.randomness", "operation " + s.Op + " draws from a key", "give the key that draws follow from"}
	}
	return nil
}

// drawing makes an operation that draws.
func (s Step) drawing(c catalog.Column, o Options) (Drawing, error) {
	if err := s.seeded(o); err != nil {
		return nil, err
	}
	if s.Op == "pram" {
		return s.pram()
	}
	scale, err := stored(c, s.Scale)
	if err != nil {
		return nil, err
	}
	step, err := stored(c, s.Step)
	if err != nil {
		return nil, err
	}
	return noise.NewAdditive(noise.Law(s.Law), float64(scale), float64(step), nil)
}

// pram makes post-randomisation. A category that always stays would pass as it is.
func (s Step) pram() (*noise.PRAM, error) {
	n := len(s.Categories)
	if (s.Stay == "") == (len(s.Matrix) == 0) {
		return nil, errors.New("stay or matrix, not both")
	}
	if n > maxCategories {
		return nil, fmt.Errorf("at most %d categories", maxCategories)
	}
	matrix := make([][]float64, n)
	if s.Stay != "" {
		stay, err := probability(s.Stay)
		if err != nil {
			return nil, err
		}
		for i := range matrix {
			matrix[i] = make([]float64, n)
			for j := range matrix[i] {
				if matrix[i][j] = (1 - stay) / float64(max(n-1, 1)); i == j {
					matrix[i][j] = stay
				}
			}
		}
	} else {
		if len(s.Matrix) != n {
			return nil, errors.New("a row of the matrix for each category")
		}
		for i, row := range s.Matrix {
			for _, text := range row {
				x, err := probability(text)
				if err != nil {
					return nil, err
				}
				matrix[i] = append(matrix[i], x)
			}
		}
	}
	for i, row := range matrix {
		if i < len(row) && row[i] >= 1 {
			return nil, errors.New("every category changes with some probability: one that always stays passes as it is")
		}
	}
	return noise.NewPRAM(s.Categories, matrix, nil)
}

const maxCategories = 1000

// probability reads 0 to 1 as people write it.
func probability(text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x >= 0 && x <= 1) {
		return 0, errors.New("a probability is 0 to 1, e.g. \"0.8\"")
	}
	return x, nil
}

// limited makes top and bottom coding; a bound that is not given codes nothing.
func (s Step) limited(c catalog.Column) (Operation, error) {
	if s.Bottom == "" && s.Top == "" {
		return nil, errors.New("a bottom, a top, or both")
	}
	low, high := math.Inf(-1), math.Inf(1)
	for _, b := range []struct {
		text string
		to   *float64
	}{{s.Bottom, &low}, {s.Top, &high}} {
		if b.text == "" {
			continue
		}
		n, err := stored(c, b.text)
		if err != nil {
			return nil, err
		}
		*b.to = float64(n)
	}
	return made(noise.NewCoding(low, high))
}
