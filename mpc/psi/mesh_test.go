package psi

import (
	"context"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
)

type link struct {
	m    *wire.Mesh
	peer int
}

func (l link) Send(tag uint32, b []byte) error           { return l.m.Send(l.peer, tag, b) }
func (l link) Post(tag uint32, into []byte) func() error { return l.m.Post(l.peer, tag, into) }
func (l link) Abort(rule string)                         { _ = l.m.Abort(wire.Nobody, rule) }

// TestOverMesh runs every output over the links that parties have.
func TestOverMesh(t *testing.T) {
	x, y := numbers(0, 1500), numbers(1000, 1700)
	for _, o := range outputs {
		x := x
		if o == JoinSum {
			x, y = numbers(0, 40), numbers(30, 70)
		}
		p := planFor(o, x, y)
		p.Threshold = 5
		g := wiretest.NewGroup(t, 2)
		c := configs(t, p, x, y, nil, nil)
		var r [2]*Result
		ts := []wire.Transport{}
		for _, m := range wire.NewMemory(2) {
			ts = append(ts, m)
		}
		errs := g.Run(context.Background(), ts, time.Now().Add(time.Minute), func(m *wire.Mesh) (err error) {
			i := m.Self()
			c[i].Conn = link{m, 1 - i}
			r[i], err = Run(context.Background(), c[i])
			return err
		})
		if errs[0] != nil || errs[1] != nil {
			t.Fatal(o, errs)
		}
		check(t, p, x, y, r)
	}
}
