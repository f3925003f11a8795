package he

import (
	"errors"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestRoom: a carrier's bound of each kind of message holds, and is no looser than encodings of signatures and seals make it.
func TestRoom(t *testing.T) {
	c := newCast(t, 3)
	l := Layout{Cells: []string{"a", "b"}, Columns: 1, Measures: []Measure{{Func: sandbox.Mean}}}
	p := c.plan(1, 2, []int{0, 2}, l)
	e := c.begin(p)
	parts := make([]*Partial, len(p.Units))
	for i := range parts {
		var err error
		parts[i], err = NewPartial(&p.Layout)
		c.ok(err)
		c.ok(parts[i].Add(0, 1, []int64{5}, 0))
	}
	c.contribute(e, parts)
	for kind, all := range map[Kind][]*Message{Contribution: e.contribs, Share: c.shares(e), Deal: e.units[0].shares} {
		if len(all) != len(p.Senders(kind)) {
			t.Fatalf("%s: %d messages of %d senders", kind, len(all), len(p.Senders(kind)))
		}
		for i, m := range all {
			n, slack := len(AppendMessage(nil, m)), 16
			if kind == Deal {
				slack += len(p.Units) * sealRoom
			}
			if room := p.Room(kind); n > room || n < room-slack-maxSig {
				t.Errorf("%s: %d bytes in a room of %d", kind, n, room)
			}
			if err := m.Check(p, kind, m.From); err != nil {
				t.Error(err)
			}
			if err := m.Check(p, kind, (m.From+1)%3); !errors.Is(err, sandbox.Denied) {
				t.Errorf("%s %d by another: %v", kind, i, err)
			}
		}
	}
	if p.Room(RelinShare) != 0 || p.Peak() < 3*p.Room(Deal)+4*p.Room(KeyShare) {
		t.Error("what a plan has none of has no room; a peak is of two steps")
	}
}
