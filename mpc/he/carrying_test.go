package he

import (
	"errors"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestRoom: a carrier's bound of each party's message of each kind holds, and is no looser than encodings of signatures and seals make it.
func TestRoom(t *testing.T) {
	c := newCast(t, 3)
	sums := c.plan(1, 2, []int{0, 2}, Layout{Cells: []string{"a", "b"}, Columns: 1, Measures: []Measure{{Func: sandbox.Mean}}})
	products := c.plan(2, 2, []int{0, 2}, productLayout(50, 1, 20, 1, 20))
	products.Set = ProductSet
	for _, p := range []*Plan{sums, products} { // in the order of their epochs
		name := string(p.Set)
		e := c.begin(p)
		parts := make([]*Partial, len(p.Units))
		for i := range parts {
			var err error
			if side := p.sideOf(i); side >= 0 {
				parts[i], err = NewSide(&p.Layout, side)
			} else {
				parts[i], err = NewPartial(&p.Layout)
			}
			c.ok(err)
			if p.Layout.Products == nil {
				c.ok(parts[i].Add(0, 1, []int64{5}, 0))
			}
		}
		c.contribute(e, parts)
		sent := map[Kind][]*Message{Commitment: e.commits, KeyShare: e.keys, RelinShare: e.relins, Deal: e.units[0].shares, Contribution: e.contribs, Share: c.shares(e)}
		peak, before := 0, 0
		for i, kind := range p.Steps() {
			all, now := sent[kind], 0
			if len(all) != len(p.Senders(kind)) {
				t.Fatalf("%s: %s: %d messages of %d senders", name, kind, len(all), len(p.Senders(kind)))
			}
			for _, m := range all {
				n, slack := len(AppendMessage(nil, m)), 16
				if kind == Deal {
					slack += len(p.Units) * sealRoom
				}
				room := p.Room(kind, m.From)
				if n > room || n < room-slack-maxSig {
					t.Errorf("%s: %s of %d: %d bytes in a room of %d", name, kind, m.From, n, room)
				}
				now += room
				if err := m.Check(p, kind, m.From); err != nil {
					t.Error(err)
				}
				if err := m.Check(p, kind, (m.From+1)%3); !errors.Is(err, sandbox.Denied) {
					t.Errorf("%s: %s %d by another: %v", name, kind, m.From, err)
				}
			}
			peak, before = max(peak, before+now), now
			if last := i+1 == len(p.Steps()); last != (p.Next(kind) == 0) || !last && (p.Before(p.Next(kind)) != kind || !p.Precedes(kind, p.Next(kind)) || p.Precedes(p.Next(kind), kind)) {
				t.Errorf("%s: %s is out of order", name, kind)
			}
		}
		if p.Peak() != peak {
			t.Errorf("%s: a peak is of two steps", name)
		}
	}
	if sums.Room(RelinShare, 0) != 0 || sums.Next(RelinShare) != 0 || sums.Precedes(RelinShare, Share) {
		t.Error("what a plan has none of has no room")
	}
}
